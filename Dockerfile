# mother serve and mother check in a container: docs/check.md, docs/serve.md
FROM python:3.12-slim AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip wheel --no-cache-dir --wheel-dir /wheels ".[serve,s3]"

FROM python:3.12-slim
# hadolint ignore=DL3013
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links /wheels "mother-recovery[serve,s3]" \
    && useradd --create-home --uid 1000 mother
USER 1000
WORKDIR /models
ENTRYPOINT ["mother"]
CMD ["--help"]
