"""Google Cloud Storage by gcsfs, which tries again by itself what may go well later."""

from mother.hub.stores import Store, listed, read

STORE = Store(
    dict,
    listed,
    read,
    "credentials come by GOOGLE_APPLICATION_CREDENTIALS or `gcloud auth application-default"
    " login`, a public bucket by FSSPEC_GS_TOKEN=anon",
    attempts=1,
)
