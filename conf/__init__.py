"""The configuration files, as the package ``snnpipe.conf``."""
