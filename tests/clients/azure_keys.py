"""azure-identity asks the double of Entra ID, and a registry exchanges its token: prints the tokens, or the refusal.

The client speaks TLS to Microsoft's hosts only, so its transport leads there as a hosts file would; requests and answers
stay those of azure-identity. The keys are in the environment.
"""
import json
import os
import sys

import requests
from azure.core.exceptions import ClientAuthenticationError
from azure.core.pipeline.transport import RequestsTransport
from azure.identity import ClientSecretCredential

SCOPE = "https://containerregistry.azure.net/.default"


class Elsewhere(RequestsTransport):
    """Sends what is meant for Microsoft's identity service to another address."""

    def __init__(self, address):
        super().__init__()
        self.address = address

    def send(self, request, **kwargs):
        request.url = request.url.replace("https://login.microsoftonline.com", self.address, 1)
        return super().send(request, **kwargs)


def main(login, registry):
    tenant, client = os.environ["AZURE_TENANT_ID"], os.environ["AZURE_CLIENT_ID"]

    def token(secret):
        return ClientSecretCredential(tenant, client, secret, transport=Elsewhere(login)).get_token(SCOPE)

    access = token(os.environ["AZURE_CLIENT_SECRET"])
    form = {"grant_type": "access_token", "service": "waybilltests.azurecr.io", "access_token": access.token}
    exchanged = requests.post(registry + "/oauth2/exchange", data={**form, "tenant": tenant}, timeout=30)
    try:
        token("another")
        refused = None
    except ClientAuthenticationError as error:
        refused = error.message
    told = {"ends": access.expires_on, "refresh_token": exchanged.json()["refresh_token"], "refused": refused}
    print(json.dumps(told))


main(*sys.argv[1:])
