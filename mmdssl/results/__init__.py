"""Records of evaluations, published rows, and tables of both."""
