"""The command line: `maskq`. One file per group of commands; `app` puts them together."""
