"""Reading crystals from any source, splitting them, and the embedded prototype set."""
