"""The paper's tables and figures, and the pretrained policies that reproduce them."""
