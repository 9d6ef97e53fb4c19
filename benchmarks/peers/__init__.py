"""The same numbers as people get them without this library, one module for each way."""
