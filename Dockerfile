# CPU: docker build --target cpu -t cached-transfer . && docker run --rm -v "$PWD/artifacts:/project/artifacts" cached-transfer all --recipe demo
# GPU: docker build --target gpu -t cached-transfer:gpu . && docker run --rm --gpus all cached-transfer:gpu all --recipe demo
# Not built by the tests: they run where there is no Docker engine.

FROM python:3.11-slim AS source
WORKDIR /project
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY cache cache
COPY transfer transfer
COPY pipelines pipelines

FROM source AS cpu
RUN pip install --no-cache-dir -c constraints.txt -e .
ENTRYPOINT ["transfer"]

FROM source AS gpu
# The extra brings the CUDA libraries; the host needs only the NVIDIA driver and container toolkit.
RUN pip install --no-cache-dir -c constraints.txt -e . "tensorflow[and-cuda]"
ENTRYPOINT ["transfer"]
