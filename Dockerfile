# The package with all of its extras, from the lock files: docker build -t twhin_hf .
# For a GPU: docker build --build-arg TORCH=torch -t twhin_hf .
FROM python:3.11-slim

RUN apt-get update \
    && apt-get install --yes --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/twhin_hf
COPY . .
ARG TORCH="torch -c constraints.txt"
# The checkout's history is left out, and nothing of the build is kept in caches.
ENV PIP_NO_CACHE_DIR=1
RUN make install VENV=/opt/venv TORCH="$TORCH" \
    && useradd --create-home user

ENV PATH="/opt/venv/bin:$PATH"
USER user
WORKDIR /home/user
ENTRYPOINT ["twhin-hf"]
CMD ["--help"]
