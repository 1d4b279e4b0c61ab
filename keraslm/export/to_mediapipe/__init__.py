"""Export for MediaPipe Tasks, which take raw text, and its proof."""
