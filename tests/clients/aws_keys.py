"""AWS's own clients (botocore, the aws command) ask the doubles of ECR and STS: prints what each of them made of it.

The keys are in the environment, as AWS's clients read them.
"""
import json
import os
import subprocess
import sys

import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

ROLE = {"RoleArn": "arn:aws:iam::123456789012:role/pull", "RoleSessionName": "waybill-tests"}


def client(service, endpoint):
    config = Config(retries={"total_max_attempts": 1})
    return botocore.session.get_session().create_client(service, "eu-west-1", endpoint_url=endpoint, config=config)


def refusal(call, **arguments):
    try:
        call(**arguments)
        return None
    except ClientError as error:
        return error.response["Error"]


def main(ecr, sts):
    token = client("ecr", ecr).get_authorization_token()["authorizationData"][0]
    command = [sys.executable, "-m", "awscli", "ecr", "get-login-password", "--endpoint-url", ecr]
    command_line = subprocess.run([*command, "--region", "eu-west-1"], capture_output=True, text=True, check=True)
    os.environ["AWS_ACCESS_KEY_ID"] = "AKIASOMEBODYELSE"
    told = {
        "token": token["authorizationToken"],
        "lives_for": token["expiresAt"].timestamp(),
        "command": command_line.stdout.strip(),
        "unknown_key": refusal(client("ecr", ecr).get_authorization_token),
        "role": refusal(client("sts", sts).assume_role, **ROLE),
    }
    print(json.dumps(told))


main(*sys.argv[1:])
