from .evidence import Explainer as Explainer
from .evidence import Explanation as Explanation
from .evidence import explain as explain
