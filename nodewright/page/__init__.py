"""The page that people watch: rendered here, kept live by server-sent events, usable without a script."""
