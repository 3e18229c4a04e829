"""Mail: the kinds of mails (`kinds`), how the worker sends them (`delivery`), and the connection (`smtp`)."""
