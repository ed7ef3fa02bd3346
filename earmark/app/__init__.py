"""The top floor that people touch: command line, the whole service's configuration, supervisor."""
