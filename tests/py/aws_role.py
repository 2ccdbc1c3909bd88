"""Takes a role as any program on AWS's own SDK does (botocore, unmodified), with nothing but its environment.

Says the credentials' key, session and end as a line of JSON, or why there are none on standard error.
"""

import json

import botocore.exceptions
import botocore.session

try:
    session = botocore.session.get_session()
    credentials = session.get_credentials()
    if credentials is None:
        raise SystemExit("no credentials found")
    frozen = credentials.get_frozen_credentials()
    print(json.dumps({"key": frozen.access_key, "token": frozen.token, "by": credentials.method}))
except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
    raise SystemExit(str(error))
