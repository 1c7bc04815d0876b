"""Result formats, read back with the tools that users read them with."""
