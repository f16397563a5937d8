"""One page that shows everything: what the stages of a run left, as a self-contained HTML file."""
