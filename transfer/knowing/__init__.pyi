from .knowledge import Knowledge as Knowledge
from .knowledge import Verdicts as Verdicts
from .knowledge import learn as learn
from .knowledge import rows_that_fit as rows_that_fit
