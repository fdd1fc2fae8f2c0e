"""Differences between Keystone and ours that are meant, each with its reason (docs/ORACLE_IDENTITY.md shows them)."""

# ruff: noqa: E501 - rows of a table
# (what the line of a difference matches, why)
EXPLAINED: list[tuple[str, str]] = [
    (r"\| (500|501) → 4\d\d$", "Keystone fails (500) where the request is wrong; ours refuses it"),
    (
        r"no such method|/auth/projects  \| \.(error|message)|PUT /(roles|role_inferences).*\.(error|message)",
        "405 in the form of every other error; Keystone's has the form of its framework",
    ),
    (
        r"GET /(ec2|s3)tokens  \| \.(error|message)",
        "405 in the form of every other error; Keystone's has the form of its framework",
    ),
    (r"OPTIONS ", "OPTIONS is no method of the API"),
    (r"GET /none ", "404 as JSON, as every other error; Keystone's framework answers HTML"),
    (r"as no token at all \| 400 → 401", "who asks is looked at before what is asked"),
    (
        r"\?(limit=1|odd=1).*\| 400 → 200|truncated|links\.next",
        "pages of every collection; Keystone has them of some, and of regions refuses the parameter",
    ),
    (
        r"\?marker=nothing.*\| (404|200) → 400",
        "an unknown marker is refused with 400 in every collection, as in the other services",
    ),
    (r"\?sort_key=name.*\| 200 → 400", "a collection that cannot be sorted so says it; Keystone ignores the parameter"),
    (r"\?parent_id=default", "the filter takes every id of a project or domain"),
    (
        r"(user|project)\.extra: there → absent",
        'Keystone answers an update with the columns of its database besides ("extra")',
    ),
    (
        r"links\.protocols|endpoints\[\]\.region:|links: absent → there|\.limit\.project:|OS-FEDERATION/identity_providers\?",
        "shown as the API reference has it",
    ),
    (
        r"description: (null|number|list|object|true)|description: null → text|before it goes.*description",
        "a description is a text; Keystone takes anything for some resources, and null is shown as the empty text",
    ),
    (r"/services.*description: null|password: empty|default_project_id: empty", "an empty password or project is none"),
    (
        r"groups/none|users/none|projects/none|domains/none",
        "who may not look is told 403; Keystone tells 404 first and so what exists",
    ),
    (r"inherited_to_projects  \| 404 → 200", "inherited roles are listed for projects as for domains"),
    (r"identity: there → absent", "the methods that exist are not told to whom tries one that does not"),
    (r"OS-PKI/revoked as  \| 403 → 401", "who asks is looked at before what is asked"),
    (r"application_credential.*unrestricted", "always true or false, as the API reference has it"),
    (
        r"by its token|GET /credentials  \| 200 → 403",
        "a delegated token is refused with 403 (Keystone: with 404 when it has access rules), and reads no secrets",
    ),
    (
        r"trusts\[\]\.remaining_uses|application_credentials\[\]\.|include_subtree|role_assignments\[\]\.(scope|user|group)|OS-REVOKE/events  \|",
        "the order of rows",
    ),
    (r"is_domain: absent → there|token\.roles\[\]\.", "a trust's token says what every other token says"),
    (r"credentials/OS-EC2  \| 404 → 400", "a project is not named: the request is wrong"),
    (
        r"PATCH /registered_limits/<registered>  \| 403 → 200",
        "the default may change while projects have limits of their own, as the API reference has it",
    ),
    (r"protocols  \| 200 → 404", "an identity provider that does not exist has no protocols to list"),
    (r"(POST|PATCH|DELETE) /policies.*\| 400 → 405", "405 where the method does not exist"),
    (r"GET /(services|users|limits|roles)[/?]?.* \| \.(services|users|limits|roles)\[\]\.", "the order of rows"),
    (
        r"identity_providers/(refused|oracle-wrong|<odd>).*(empty|no body|as admin|as system)",
        "an object is asked for, though it may be empty",
    ),
    (
        r"OS-OAUTH1/consumers(/<odd>)? .*((body: |body: empty |no body )(empty|no body|made)|as admin|as system)",
        "an object is asked for, though it may be empty",
    ),
    (r"PATCH /projects/<project> body: (empty|no body)", "an object is asked for, though it may be empty"),
    (r"/credentials.*user_id: empty", "a credential has an owner"),
    (r"(mappings|consumers)\?limit=z", "a limit is a number in every collection"),
    (
        r"/OS-FEDERATION/1\.0/rel/(ecp|identity_provider_protocol_auth|identity_providers_websso|metadata|saml2|websso): there"
        r"|/OS-OAUTH1/1\.0/rel/(.*access_token.*|authorize_request_token|request_tokens): there|/(OS-OAUTH2|OS-SIMPLE-CERT)/1\.0/",
        "logging in by federation and by OAuth is not there (docs/limits/identity.md), nor said to be",
    ),
    (r"trusts odd \| \.trust\.odd", "members of a trust that nobody knows are left out"),
]
