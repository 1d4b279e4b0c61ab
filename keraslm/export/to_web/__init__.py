"""Export to a folder for static web servers, and its proof in a browser."""
