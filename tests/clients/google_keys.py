"""google-auth asks the doubles of Google's token endpoints: prints the token of each kind of key, or the refusal.

The key files and the subject token are in the environment.
"""
import json
import os
import sys
import tempfile

from google.auth import identity_pool
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import Request
from google.oauth2 import service_account

SCOPES = ["https://www.googleapis.com/auth/devstorage.read_only"]


def refreshed(credentials):
    try:
        credentials.refresh(Request())
        return {"token": credentials.token, "ends": str(credentials.expiry)}
    except GoogleAuthError as error:
        return {"refused": str(error)}


def main(token_url, iam_url):
    def account(variable):
        info = {**json.loads(os.environ[variable]), "token_uri": token_url}
        return service_account.Credentials.from_service_account_info(info, scopes=SCOPES)

    def identity(subject_token):
        with tempfile.NamedTemporaryFile("w", suffix=".token") as file:
            file.write(subject_token)
            file.flush()
            info = {**json.loads(os.environ["EXTERNAL_FILE"]), "token_url": token_url}
            info["credential_source"] = {"file": file.name}
            impersonation = info["service_account_impersonation_url"]
            path = impersonation.removeprefix("https://iamcredentials.googleapis.com")
            info["service_account_impersonation_url"] = iam_url + path
            return refreshed(identity_pool.Credentials.from_info(info, scopes=SCOPES))

    told = {
        "account": refreshed(account("KEY_FILE")),
        "unknown_account": refreshed(account("OTHER_KEY_FILE")),
        "identity": identity(os.environ["SUBJECT_TOKEN"]),
        "unknown_identity": identity("another"),
    }
    print(json.dumps(told))


main(*sys.argv[1:])
