"""End-to-end tests: a real Hub, real sessions, and a real browser before them."""
