"""VisiData Hub: VisiData in the browser, for many people at once. Importing this package does nothing."""
