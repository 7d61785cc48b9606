"""The monitor page: HTML, style and scripts, and the module that makes one document of them."""
