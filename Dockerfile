# nc-run in a container, for CPUs and GPUs:
#
#   docker build --tag nc-runner .                             PyTorch as pip gives it: with CUDA on x86-64
#   docker build --tag nc-runner --build-arg TORCH=cpu .       for CPUs alone, much smaller; or cu126, cu128, ...
#   docker run --rm --volume "$PWD:/work" --user "$(id -u):$(id -g)" nc-runner epochs=10
#   docker run --rm --volume "$PWD:/work" --user "$(id -u):$(id -g)" --entrypoint nc-plot nc-runner outputs/
#
# --gpus all gives it the GPUs. Runs and data are in /work, as they are in the working directory without a container.
ARG BASE=python:3.12-slim-bookworm
FROM ${BASE} AS build
# Git is for the version. A pinned one would end the build as soon as Debian has a security fix.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends git && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/nc-runner && /opt/nc-runner/bin/pip install --no-cache-dir "uv>=0.6"
ENV VIRTUAL_ENV=/opt/nc-runner UV_LINK_MODE=copy
ARG TORCH=
# Before the sources: a change of these leaves this large layer as it is.
RUN /opt/nc-runner/bin/uv pip install --no-cache ${TORCH:+--torch-backend=${TORCH}} "torch>=2.6" "torchvision>=0.21"
COPY . /source
ARG EXTRAS=tensorboard,joblib,models
RUN /opt/nc-runner/bin/uv pip install --no-cache "/source[${EXTRAS}]" && /opt/nc-runner/bin/uv pip uninstall uv

FROM ${BASE}
COPY --from=build /opt/nc-runner /opt/nc-runner
RUN useradd --create-home --uid 1000 runner && mkdir /work && chown 1000:1000 /work
# Caches go where a user that --user names, without a home, can write as well.
ENV PATH=/opt/nc-runner/bin:$PATH MPLCONFIGDIR=/tmp/matplotlib TORCH_HOME=/tmp/torch
USER 1000
WORKDIR /work
VOLUME /work
ENTRYPOINT ["nc-run"]
