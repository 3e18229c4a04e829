"""Dates in English where Django formats them, which is only in Django admin. Pages use the `moment` tag."""

DATE_FORMAT = "Y-m-d"
DATETIME_FORMAT = "Y-m-d H:i T"
