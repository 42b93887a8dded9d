"""File formats that labels go out in, one module a format."""
