"""The management API and the monitor page."""
