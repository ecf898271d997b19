# One image for `nodewright serve`, `nodewright worker` and `nodewright migrate`; docker-compose.yml runs all three.

FROM python:3.11-slim AS build
WORKDIR /src
RUN python -m venv /opt/nodewright
COPY requirements-run.lock ./
RUN /opt/nodewright/bin/pip install --no-cache-dir --require-hashes -r requirements-run.lock
COPY pyproject.toml README.md LICENSE ./
COPY api_client api_client
COPY jobs jobs
COPY worker worker
COPY simulator simulator
COPY nodewright nodewright
RUN /opt/nodewright/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
    && /opt/nodewright/bin/pip uninstall --yes hatchling pathspec pluggy trove-classifiers

FROM python:3.11-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/nodewright --create-home --shell /usr/sbin/nologin nodewright
COPY --from=build /opt/nodewright /opt/nodewright
COPY deploy/healthcheck.py /opt/nodewright/healthcheck.py
ENV PATH=/opt/nodewright/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    NODEWRIGHT_HOME=/var/lib/nodewright
USER nodewright
WORKDIR /var/lib/nodewright
EXPOSE 8480
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "/opt/nodewright/healthcheck.py", "service"]
ENTRYPOINT ["nodewright"]
CMD ["serve"]
