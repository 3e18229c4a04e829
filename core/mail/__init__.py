"""Mail: what is to be sent (`kinds`), how the worker sends it (`delivery`), and by which connection (`smtp`)."""
