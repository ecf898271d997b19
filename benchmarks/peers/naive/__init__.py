"""The Celery service that most people would write: a task per instance, retried with backoff, polling until it runs."""
