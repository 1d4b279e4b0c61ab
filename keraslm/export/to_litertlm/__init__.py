"""Export to a ``.litertlm`` file, and its proof."""
