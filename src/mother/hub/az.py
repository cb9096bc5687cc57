"""Azure Blob Storage by adlfs, which tries again by itself what may go well later."""

from mother.hub.stores import Store, listed, read

STORE = Store(
    dict,
    listed,
    read,
    "credentials come by AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY or"
    " AZURE_STORAGE_SAS_TOKEN, or by AZURE_STORAGE_CONNECTION_STRING",
    attempts=1,
)
