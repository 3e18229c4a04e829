"""Mail: the kinds of mails (`kinds`), what they look like (`messages`, `tags`), how the worker sends them (`delivery`),
and the connection (`smtp`)."""
