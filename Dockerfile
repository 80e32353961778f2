# The grader for a class, and the environment of a learner's devcontainer. docs/cluster.md, under Containers, says how each
# is started, and which level of isolation the flags give.
#
#     docker build -t dl-kata .
#     docker run --rm dl-kata                     # grader doctor: what the container gives to grading
FROM python:3.11-slim AS learner
# libseccomp2: the cage's filter. git and make: for `make grade` in a devcontainer.
RUN apt-get update \
    && apt-get install -y --no-install-recommends git libseccomp2 make \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home katas

FROM learner AS grader
# An index of yours that has torch for CPUs: the torch of PyPI brings CUDA along, which is several gigabytes.
ARG PIP_EXTRA_INDEX_URL
WORKDIR /katas
RUN python3 -m venv .venv
COPY constraints.txt ./
RUN .venv/bin/pip install --no-cache-dir -c constraints.txt torch
COPY pyproject.toml README.md LICENSE conftest.py ./
COPY grader grader
RUN .venv/bin/pip install --no-cache-dir -c constraints.txt -e .
COPY exercises exercises
COPY solutions solutions
COPY tests tests
USER katas
ENTRYPOINT ["/katas/.venv/bin/grader"]
CMD ["doctor"]
