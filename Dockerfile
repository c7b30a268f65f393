# A container with the locked environment. The whole project is in /app; runs/ and data/ are mounted from outside:
#   docker build -t regulo .
#   docker run --rm -v "$PWD/runs:/app/runs" regulo train trainer=cpu
# For NVIDIA GPUs (the libraries come with torch, the driver with the host):
#   docker build --build-arg TORCH_BACKEND=cu128 -t regulo .
#   docker run --rm --gpus all --shm-size 2g -v "$PWD/runs:/app/runs" regulo train trainer=gpu
# On another base, for example one with the CUDA compiler and Python 3.11 to 3.13: --build-arg BASE=…
ARG BASE=python:3.12-slim-bookworm
FROM ${BASE}

SHELL ["/bin/sh", "-eu", "-c"]
RUN apt-get update && apt-get install --yes --no-install-recommends git make && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 1000 user && mkdir -p /app/runs /app/data && chown -R user:user /app
WORKDIR /app
USER user

# first what changes seldom: the environment is a layer of its own, which an edit of the code does not build again
ARG TORCH_BACKEND=cpu
ENV TORCH_BACKEND=${TORCH_BACKEND} PIP_NO_CACHE_DIR=1 UV_NO_CACHE=1
COPY --chown=user:user pyproject.toml README.md LICENSE ./
COPY --chown=user:user locks ./locks
COPY --chown=user:user scripts/setup.sh ./scripts/setup.sh
COPY --chown=user:user src/regulo/__init__.py ./src/regulo/__init__.py
COPY --chown=user:user configs ./configs
RUN sh scripts/setup.sh

COPY --chown=user:user . .
ENV PATH=/app/.venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1
ENTRYPOINT ["regulo"]
CMD ["--help"]
