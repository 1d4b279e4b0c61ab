"""The files of the web page, which `keraslm.export.web` copies."""
