"""The requests that both get: every resource made, shown, listed, changed and deleted, rightly and wrongly, by an
administrator, a member and nobody; and the flows of signing in.

`<name>` in a path or body stands for what an earlier answer gave (`keep`).
"""

# ruff: noqa: E501 - rows of tables

from collections.abc import Iterator
from typing import Any

from resources_identity import ADMIN, MEMBER, NOBODY, PASSWORD, SYSTEM, THINGS, Step, life


def login(user: dict[str, Any], scope: Any = None) -> dict[str, Any]:
    auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": user}}}
    if scope is not None:
        auth["scope"] = scope
    return {"auth": auth}


ADMIN_USER = {"name": "admin", "domain": {"id": "default"}, "password": PASSWORD}
MEMBER_USER = {"name": "oracle-member", "domain": {"id": "default"}, "password": "secret"}
DEMO = {"project": {"id": "<fixed_project>"}}


def steps() -> Iterator[Step]:
    yield from preparing()
    for thing in THINGS:
        yield from life(thing)
    yield from signing_in()
    yield from assigning()
    yield from delegating()
    yield from limiting()
    yield from the_rest()


def preparing() -> Iterator[Step]:
    token = {"header:X-Subject-Token"}.pop()
    admin = {"project": {"name": "admin", "domain": {"id": "default"}}}
    yield Step("POST", "/auth/tokens", login(ADMIN_USER, admin), NOBODY, {ADMIN: token, "admin_id": "token.user.id"})
    yield Step("POST", "/auth/tokens", login(ADMIN_USER, {"system": {"all": True}}), NOBODY, {SYSTEM: token})
    demo = {"project": {"name": "oracle-demo", "domain_id": "default"}}
    yield Step("POST", "/projects", demo, keep={"fixed_project": "project.id"})
    user = {"user": {"name": "oracle-member", "domain_id": "default", "password": "secret"}}
    yield Step("POST", "/users", user, keep={"member_id": "user.id"})
    for name in ("member", "reader", "admin"):
        yield Step("GET", f"/roles?name={name}", keep={f"role_{name}": "roles.0.id"})
    yield Step("PUT", "/projects/<fixed_project>/users/<member_id>/roles/<role_member>")
    yield Step("POST", "/auth/tokens", login(MEMBER_USER, DEMO), NOBODY, {MEMBER: token})
    yield Step("POST", "/regions", {"region": {"id": "oracle"}}, keep={"fixed_region": "region.id"})
    yield Step("POST", "/services", {"service": {"type": "x", "name": "x"}}, keep={"fixed_service": "service.id"})
    yield Step("POST", "/groups", {"group": {"name": "oracle"}}, keep={"fixed_group": "group.id"})


def signing_in() -> Iterator[Step]:
    token = "header:X-Subject-Token"
    by_id = {"id": "<member_id>", "password": "secret"}
    for about, user in (
        ("by id", by_id),
        ("wrong password", {**by_id, "password": "no"}),
        ("unknown id", {"id": "none", "password": "x"}),
        ("unknown name", {"name": "none", "domain": {"id": "default"}, "password": "x"}),
        ("unknown domain", {"name": "admin", "domain": {"id": "none"}, "password": "x"}),
        ("domain by name", {**MEMBER_USER, "domain": {"name": "Default"}}),
        ("no domain", {"name": "oracle-member", "password": "secret"}),
        ("no password", {"id": "<member_id>"}),
        ("password a number", {**by_id, "password": 5}),
        ("nothing", {}),
    ):
        yield Step("POST", "/auth/tokens", login(user), NOBODY, about=about)
    for about, scope in (
        ("project", DEMO),
        ("project by name", {"project": {"name": "oracle-demo", "domain": {"id": "default"}}}),
        ("project by name alone", {"project": {"name": "oracle-demo"}}),
        ("no such project", {"project": {"id": "none"}}),
        ("no role", {"domain": {"id": "default"}}),
        ("no such domain", {"domain": {"id": "none"}}),
        ("system", {"system": {"all": True}}),
        ("system not all", {"system": {"all": False}}),
        ("unscoped", "unscoped"),
        ("unscoped object", {"unscoped": {}}),
        ("odd text", "odd"),
        ("odd member", {"odd": 1}),
        ("two", {"project": {"id": "<fixed_project>"}, "domain": {"id": "default"}}),
        ("empty", {}),
        ("no such trust", {"OS-TRUST:trust": {"id": "none"}}),
    ):
        yield Step("POST", "/auth/tokens", login(by_id, scope), NOBODY, about=f"scope {about}")
    for about, body in (
        ("no methods", {"auth": {"identity": {"methods": []}}}),
        ("no such method", {"auth": {"identity": {"methods": ["magic"], "magic": {}}}}),
        ("method without proof", {"auth": {"identity": {"methods": ["password"]}}}),
        ("token without id", {"auth": {"identity": {"methods": ["token"], "token": {}}}}),
        ("bad token", {"auth": {"identity": {"methods": ["token"], "token": {"id": "bad"}}}}),
        ("no identity", {"auth": {}}),
        ("no auth", {}),
        ("auth null", {"auth": None}),
        ("totp without", {"auth": {"identity": {"methods": ["totp"], "totp": {"user": {"id": "<member_id>"}}}}}),
        ("totp wrong", {"auth": {"identity": {"methods": ["totp"],
                        "totp": {"user": {"id": "<member_id>", "passcode": "000000"}}}}}),
        ("totp nobody", {"auth": {"identity": {"methods": ["totp"],
                         "totp": {"user": {"id": "none", "passcode": "000000"}}}}}),
    ):  # fmt: skip
        yield Step("POST", "/auth/tokens", body, NOBODY, about=about)
    for query in ("", "?nocatalog"):
        yield Step("POST", f"/auth/tokens{query}", login(by_id, DEMO), NOBODY, {"own": token})
    for method in ("GET", "HEAD"):
        for caller in (ADMIN, "own", MEMBER, SYSTEM, NOBODY):
            yield Step(method, "/auth/tokens", None, caller, headers={"X-Subject-Token": "<own>"}, about=f"as {caller}")
        yield Step(method, "/auth/tokens?nocatalog", None, ADMIN, headers={"X-Subject-Token": "<own>"})
        yield Step(method, "/auth/tokens", None, ADMIN, headers={"X-Subject-Token": "bad"}, about="a bad one")
        yield Step(method, "/auth/tokens", None, ADMIN, about="none")
    again = {"auth": {"identity": {"methods": ["token"], "token": {"id": "<own>"}}}}
    yield Step("POST", "/auth/tokens", again, NOBODY, {"child": token}, about="by token")
    both = {"methods": ["password", "token"], "password": {"user": by_id}, "token": {"id": "<own>"}}
    yield Step("POST", "/auth/tokens", {"auth": {"identity": both, "scope": DEMO}}, NOBODY, about="two methods")
    sys_token = {"auth": {"identity": {"methods": ["token"], "token": {"id": "<system>"}}, "scope": DEMO}}
    yield Step("POST", "/auth/tokens", sys_token, NOBODY, about="from system to project")
    for path in ("projects", "domains", "system", "catalog", "tokens/OS-PKI/revoked"):
        for caller in (ADMIN, MEMBER, SYSTEM, NOBODY):
            for method in ("GET", "HEAD"):
                yield Step(method, f"/auth/{path}", token=caller, about=f"as {caller}")
    yield Step("DELETE", "/auth/tokens", token=MEMBER, headers={"X-Subject-Token": "<admin>"}, about="another's")
    yield Step("DELETE", "/auth/tokens", token=ADMIN, headers={"X-Subject-Token": "bad"})
    yield Step("DELETE", "/auth/tokens", token=ADMIN, about="none")
    yield Step("DELETE", "/auth/tokens", token=ADMIN, headers={"X-Subject-Token": "<own>"})
    for name in ("own", "child"):
        yield Step("GET", "/auth/tokens", token=ADMIN, headers={"X-Subject-Token": f"<{name}>"}, about="revoked")
    yield Step("GET", "/users/<member_id>", token="own", about="with a revoked token")
    yield from passwords()


def passwords() -> Iterator[Step]:
    path, user = "/users/<second_id>/password", {"name": "oracle-second", "domain_id": "default", "password": "one"}
    rules = {"multi_factor_auth_rules": [["password", "totp"]], "multi_factor_auth_enabled": True}
    yield Step("POST", "/users", {"user": user}, keep={"second_id": "user.id"})
    for about, body in (
        ("wrong", {"original_password": "two", "password": "x"}),
        ("no original", {"password": "x"}),
        ("no new", {"original_password": "one"}),
        ("null", {"original_password": "one", "password": None}),
        ("number", {"original_password": "one", "password": 5}),
        ("right", {"original_password": "one", "password": "two"}),
        ("old", {"original_password": "one", "password": "three"}),
        ("same", {"original_password": "two", "password": "two"}),
    ):
        yield Step("POST", path, {"user": body}, NOBODY, about=about)
    yield Step("POST", "/users/none/password", {"user": {"original_password": "a", "password": "b"}}, NOBODY)
    for options in ({"odd": 1}, {"lock_password": "yes"}, {"lock_password": None}, {"multi_factor_auth_rules": "x"},
                    {"multi_factor_auth_rules": [["a"], ["a"]]}, {"multi_factor_auth_rules": [[]]},
                    {"lock_password": True}, rules):  # fmt: skip
        yield Step("PATCH", "/users/<second_id>", {"user": {"options": options}}, about=str(options))
    yield Step("POST", path, {"user": {"original_password": "two", "password": "x"}}, NOBODY, about="locked")
    second = login({"id": "<second_id>", "password": "two"})
    yield Step("POST", "/auth/tokens", second, NOBODY, {"receipt": "header:Openstack-Auth-Receipt"}, about="a receipt")
    code = {"auth": {"identity": {"methods": ["totp"], "totp": {"user": {"id": "<second_id>", "passcode": "1"}}}}}
    receipt = {"Openstack-Auth-Receipt": "<receipt>"}
    yield Step("POST", "/auth/tokens", code, NOBODY, headers=receipt, about="receipt and a wrong code")
    yield Step("POST", "/auth/tokens", second, NOBODY, headers=receipt, about="receipt and the same again")
    yield Step("POST", "/auth/tokens", second, NOBODY, headers={"Openstack-Auth-Receipt": "x"}, about="odd receipt")
    yield Step("GET", "/projects", token="receipt", about="a receipt as token")
    yield Step("PATCH", "/users/<second_id>", {"user": {"enabled": False}})
    yield Step("POST", "/auth/tokens", second, NOBODY, about="disabled")
    yield Step("DELETE", "/users/<second_id>")


def assigning() -> Iterator[Step]:
    roots = (
        "/projects/<fixed_project>/users/<member_id>",
        "/projects/<fixed_project>/groups/<fixed_group>",
        "/domains/default/users/<member_id>",
        "/domains/default/groups/<fixed_group>",
        "/system/users/<member_id>",
        "/system/groups/<fixed_group>",
        "/OS-INHERIT/projects/<fixed_project>/users/<member_id>",
        "/OS-INHERIT/domains/default/users/<member_id>",
        "/OS-INHERIT/domains/default/groups/<fixed_group>",
        "/projects/none/users/<member_id>",
        "/projects/<fixed_project>/users/none",
        "/domains/none/users/<member_id>",
        "/system/users/none",
    )
    for root in roots:
        tail = "/inherited_to_projects" if "INHERIT" in root else ""
        one = f"{root}/roles/<role_reader>{tail}"
        for method in ("PUT", "GET", "HEAD"):
            for caller in (MEMBER, ADMIN):
                yield Step(method, one, token=caller, about=f"as {caller}")
        yield Step("GET", f"{root}/roles{tail}")
        yield Step("HEAD", f"{root}/roles{tail}")
        for query in ("", "?include_names", "?effective", "?user.id=<member_id>", "?scope.system=all", "?group.id=none",
                      "?user.id=<member_id>&group.id=<fixed_group>", "?role.id=<role_reader>",
                      "?scope.project.id=<fixed_project>&include_subtree"):  # fmt: skip
            yield Step("GET", f"/role_assignments{query}")
        for _ in range(2):
            yield Step("DELETE", one)
        yield Step("PUT", f"{root}/roles/none{tail}")
    yield Step("POST", "/roles", {"role": {"name": "prior"}}, keep={"prior": "role.id"})
    implied = "/roles/<prior>/implies/<role_reader>"
    for method in ("GET", "PUT", "PUT", "GET", "HEAD", "DELETE", "DELETE", "HEAD"):
        yield Step(method, implied)
    for path in (
        "/roles/<prior>/implies",
        "/role_inferences",
        "/roles/<prior>/implies/<role_admin>",
        "/roles/none/implies",
    ):
        for method in ("GET", "HEAD", "PUT"):
            yield Step(method, path)
    yield Step("DELETE", "/roles/<prior>")
    member = "/groups/<fixed_group>/users/<member_id>"
    for method in ("HEAD", "PUT", "PUT", "HEAD", "GET"):
        yield Step(method, member)
    for path in ("/groups/<fixed_group>/users", "/users/<member_id>/groups", "/users/<member_id>/projects"):
        for caller in (ADMIN, MEMBER):
            yield Step("GET", path, token=caller)
    yield Step("DELETE", member)
    yield Step("DELETE", member, about="again")
    yield Step("PUT", "/groups/<fixed_group>/users/none")
    yield Step("POST", "/auth/tokens", login(MEMBER_USER, DEMO), NOBODY, {MEMBER: "header:X-Subject-Token"})
    tags = "/projects/<fixed_project>/tags"
    for method, path, body in (
        ("GET", tags, None), ("PUT", f"{tags}/one", None), ("PUT", f"{tags}/one", None), ("GET", f"{tags}/one", None),
        ("HEAD", f"{tags}/two", None), ("PUT", tags, {"tags": ["a", "b"]}), ("PUT", tags, {"tags": "a"}),
        ("PUT", tags, {"tags": ["a,b"]}), ("PUT", tags, {}), ("PUT", tags, {"tags": ["a", "a"]}),
        ("DELETE", f"{tags}/a", None), ("DELETE", f"{tags}/a", None), ("DELETE", tags, None), ("HEAD", tags, None),
    ):  # fmt: skip
        yield Step(method, path, body)


def delegating() -> Iterator[Step]:
    path = "/users/<member_id>/application_credentials"
    one: dict[str, Any] = {"name": "ac", "description": "d", "roles": [{"id": "<role_member>"}],
                           "access_rules": [{"service": "identity", "method": "GET", "path": "/v3/projects"}]}  # fmt: skip
    for about, value in (
        ("right", one), ("again", one), ("no name", {"description": "d"}), ("unknown role", {**one, "name": "x", "roles": [{"id": "none"}]}),
        ("not its role", {**one, "name": "x", "roles": [{"name": "admin"}]}), ("odd rule", {**one, "name": "x", "access_rules": [{"method": "GO"}]}),
        ("past", {"name": "x", "expires_at": "2001-01-01T00:00:00Z"}), ("odd time", {"name": "x", "expires_at": "soon"}),
        ("unknown member", {"name": "x", "odd": 1}), ("secret", {"name": "with-secret", "secret": "s", "unrestricted": True}),
    ):  # fmt: skip
        keep = (
            {"ac": "application_credential.id", "ac_secret": "application_credential.secret"}
            if about == "right"
            else {}
        )
        yield Step("POST", path, {"application_credential": value}, MEMBER, keep, about=about)
    yield Step("POST", path, {"application_credential": one}, ADMIN, about="for another")
    for method in ("GET", "HEAD"):
        for caller in (MEMBER, ADMIN, NOBODY):
            yield Step(method, path, token=caller)
            yield Step(method, f"{path}/<ac>", token=caller)
            yield Step(method, f"{path}/none", token=caller)
            yield Step(
                method,
                "/users/<member_id>/access_rules",
                token=caller,
                keep={"rule": "access_rules.0.id"} if method == "GET" and caller == MEMBER else {},
            )
    yield Step("GET", "/users/<member_id>/access_rules/<rule>", token=MEMBER)
    yield Step("DELETE", "/users/<member_id>/access_rules/<rule>", token=MEMBER, about="in use")
    proof = {"id": "<ac>", "secret": "<ac_secret>"}
    body = {"auth": {"identity": {"methods": ["application_credential"], "application_credential": proof}}}
    yield Step("POST", "/auth/tokens", body, NOBODY, {"ac_token": "header:X-Subject-Token"})
    yield Step(
        "GET",
        "/auth/tokens",
        token=ADMIN,
        headers={"X-Subject-Token": "<ac_token>", "Openstack-Identity-Access-Rules": "1"},
    )
    yield Step("POST", path, {"application_credential": {"name": "y"}}, "ac_token", about="by one")
    wrong = {
        "auth": {
            "identity": {"methods": ["application_credential"], "application_credential": {**proof, "secret": "x"}}
        }
    }
    yield Step("POST", "/auth/tokens", wrong, NOBODY, about="wrong secret")
    by_token = {"auth": {"identity": {"methods": ["token"], "token": {"id": "<ac_token>"}}}}
    yield Step("POST", "/auth/tokens", by_token, NOBODY, about="by its token")
    for _ in range(2):
        yield Step("DELETE", f"{path}/<ac>", token=MEMBER)
    trust: dict[str, Any] = {"trustor_user_id": "<member_id>", "trustee_user_id": "<admin_id>", "impersonation": False,
                             "project_id": "<fixed_project>", "roles": [{"id": "<role_member>"}]}  # fmt: skip
    for about, value in (
        ("right", trust), ("impersonating", {**trust, "impersonation": True, "remaining_uses": 1}), ("another's", {**trust, "trustor_user_id": "<admin_id>"}),
        ("no roles", {**trust, "roles": []}), ("unknown role", {**trust, "roles": [{"id": "none"}]}), ("no trustee", {**trust, "trustee_user_id": "none"}),
        ("role not its own", {**trust, "roles": [{"name": "admin"}]}), ("no impersonation", {k: v for k, v in trust.items() if k != "impersonation"}),
        ("past", {**trust, "expires_at": "2001-01-01T00:00:00Z"}), ("zero uses", {**trust, "remaining_uses": 0}),
        ("redelegation", {**trust, "allow_redelegation": True, "redelegation_count": 2}), ("too deep", {**trust, "allow_redelegation": True, "redelegation_count": 9}),
        ("odd", {**trust, "odd": 1}),
    ):  # fmt: skip
        keep = {"trust": "trust.id"} if about == "right" else {}
        yield Step("POST", "/OS-TRUST/trusts", {"trust": value}, MEMBER, keep, about=about)
    for path in ("", "/<trust>", "/<trust>/roles", "/<trust>/roles/<role_member>", "/<trust>/roles/none", "/none",
                 "?trustor_user_id=<member_id>", "?trustee_user_id=<admin_id>"):  # fmt: skip
        for caller in (ADMIN, MEMBER, NOBODY):
            for method in ("GET", "HEAD"):
                yield Step(method, f"/OS-TRUST/trusts{path}", token=caller)
    scope = {"OS-TRUST:trust": {"id": "<trust>"}}
    yield Step("POST", "/auth/tokens", login(ADMIN_USER, scope), NOBODY, {"trust_token": "header:X-Subject-Token"})
    yield Step("POST", "/auth/tokens", login(MEMBER_USER, scope), NOBODY, about="not the trustee")
    again = {"auth": {"identity": {"methods": ["token"], "token": {"id": "<trust_token>"}}}}
    yield Step("POST", "/auth/tokens", again, NOBODY, about="by a trust's token")
    yield Step("GET", "/credentials", token="trust_token")
    for _ in range(2):
        yield Step("DELETE", "/OS-TRUST/trusts/<trust>", token=MEMBER)
    ec2 = "/users/<member_id>/credentials/OS-EC2"
    for value in ({"tenant_id": "<fixed_project>"}, {"tenant_id": "none"}, {}):
        yield Step(
            "POST",
            ec2,
            value,
            MEMBER,
            {"access": "credential.access"} if value.get("tenant_id", "").startswith("<") else {},
        )
    for caller in (MEMBER, ADMIN, NOBODY):
        for path in (ec2, f"{ec2}/<access>", f"{ec2}/none"):
            yield Step("GET", path, token=caller)
    for name in ("ec2tokens", "s3tokens"):
        for value in ({}, {"credentials": {}}, {"credentials": {"access": "none"}}):
            for caller in (ADMIN, MEMBER, NOBODY):
                yield Step("POST", f"/{name}", value, caller)
        yield Step("GET", f"/{name}")
    for _ in range(2):
        yield Step("DELETE", f"{ec2}/<access>", token=MEMBER)


def limiting() -> Iterator[Step]:
    good = {"service_id": "<fixed_service>", "resource_name": "r", "default_limit": 10, "region_id": None}
    for about, value in (
        ("right", [good]), ("again", [good]), ("empty", []), ("object", good), ("no service", [{**good, "service_id": "none"}]),
        ("no number", [{**good, "resource_name": "s", "default_limit": "x"}]), ("negative", [{**good, "resource_name": "s", "default_limit": -2}]),
        ("no name", [{"service_id": "<fixed_service>", "default_limit": 1}]), ("no region", [{**good, "resource_name": "s", "region_id": "none"}]),
    ):  # fmt: skip
        keep = {"registered": "registered_limits.0.id"} if about == "right" else {}
        yield Step("POST", "/registered_limits", {"registered_limits": value}, keep=keep, about=about)
    own = {"project_id": "<fixed_project>", "service_id": "<fixed_service>", "resource_name": "r", "resource_limit": 5}
    for about, value in (
        ("right", [own]), ("again", [own]), ("unregistered", [{**own, "resource_name": "none"}]), ("no project", [{**own, "project_id": "none"}]),
        ("both", [{**own, "domain_id": "default"}]), ("neither", [{k: v for k, v in own.items() if k != "project_id"}]),
        ("domain", [{**{k: v for k, v in own.items() if k != "project_id"}, "domain_id": "default"}]),
    ):  # fmt: skip
        keep = {"limit": "limits.0.id"} if about == "right" else {}
        yield Step("POST", "/limits", {"limits": value}, keep=keep, about=about)
    for path in ("/limits", "/limits/<limit>", "/limits/none", "/limits/model", "/registered_limits", "/limits?resource_name=r",
                 "/registered_limits/<registered>", "/registered_limits/none", "/limits?project_id=<fixed_project>"):  # fmt: skip
        for caller in (ADMIN, MEMBER, SYSTEM, NOBODY):
            for method in ("GET", "HEAD"):
                yield Step(method, path, token=caller, about=f"as {caller}")
    yield Step("PATCH", "/limits/<limit>", {"limit": {"resource_limit": 6}})
    yield Step("PATCH", "/limits/<limit>", {"limit": {"resource_limit": "x"}})
    yield Step("PATCH", "/limits/<limit>", {"limit": {"project_id": "x"}})
    yield Step("PATCH", "/registered_limits/<registered>", {"registered_limit": {"default_limit": 7}})
    yield Step(
        "PATCH", "/registered_limits/<registered>", {"registered_limit": {"resource_name": "other"}}, about="in use"
    )
    yield Step("DELETE", "/registered_limits/<registered>", about="in use")
    yield Step("DELETE", "/limits/<limit>")
    yield Step("DELETE", "/limits/<limit>")


def the_rest() -> Iterator[Step]:
    policy = "/policies/<pol>/OS-ENDPOINT-POLICY"
    yield Step("POST", "/policies", {"policy": {"type": "t", "blob": "b"}}, keep={"pol": "policy.id"})
    new = {
        "endpoint": {
            "service_id": "<fixed_service>",
            "interface": "public",
            "url": "http://x",
            "region_id": "<fixed_region>",
        }
    }
    yield Step("POST", "/endpoints", new, keep={"ep": "endpoint.id"})
    for place in (
        "/endpoints/<ep>",
        "/services/<fixed_service>",
        "/services/<fixed_service>/regions/<fixed_region>",
        "/endpoints/none",
    ):
        for method in ("GET", "PUT", "HEAD", "GET"):
            yield Step(method, policy + place)
        yield Step("GET", "/endpoints/<ep>/OS-ENDPOINT-POLICY/policy")
        yield Step("GET", f"{policy}/endpoints")
        for _ in range(2):
            yield Step("DELETE", policy + place)
    ep_filter = "/OS-EP-FILTER/projects/<fixed_project>/endpoints"
    for method, path in (("PUT", f"{ep_filter}/<ep>"), ("HEAD", f"{ep_filter}/<ep>"), ("GET", f"{ep_filter}/<ep>"), ("GET", ep_filter),
                         ("GET", "/OS-EP-FILTER/endpoints/<ep>/projects"), ("DELETE", f"{ep_filter}/<ep>"), ("DELETE", f"{ep_filter}/<ep>"),
                         ("PUT", f"{ep_filter}/none"), ("GET", "/OS-EP-FILTER/projects/<fixed_project>/endpoint_groups")):  # fmt: skip
        yield Step(method, path)
    config = "/domains/default/config"
    for method, path, body in (
        ("GET", config, None), ("PUT", config, {"config": {"ldap": {"url": "ldap://x"}, "identity": {"driver": "ldap"}}}), ("GET", config, None),
        ("PUT", config, {"config": {"odd": {"a": 1}}}), ("PUT", config, {}), ("GET", f"{config}/ldap", None), ("GET", f"{config}/ldap/url", None),
        ("GET", f"{config}/ldap/odd", None), ("GET", f"{config}/odd", None), ("PATCH", config, {"config": {"ldap": {"url": "ldap://y"}}}),
        ("PATCH", f"{config}/ldap", {"config": {"ldap": {"url": "ldap://z"}}}), ("PATCH", f"{config}/ldap/url", {"config": {"url": "ldap://z"}}),
        ("DELETE", f"{config}/ldap/url", None), ("DELETE", f"{config}/ldap", None), ("DELETE", config, None), ("DELETE", config, None),
        ("GET", "/domains/config/default", None), ("GET", "/domains/config/ldap/default", None), ("GET", "/domains/config/ldap/url/default", None),
        ("GET", f"{config}/security_compliance", None), ("GET", f"{config}/security_compliance/password_regex", None),
        ("GET", f"{config}/security_compliance/lockout_duration", None),
    ):  # fmt: skip
        yield Step(method, path, body)
        if method == "GET":
            yield Step("HEAD", path)
            yield Step("GET", path, token=MEMBER, about="as member")
    protocols = "/OS-FEDERATION/identity_providers/oracle-p/protocols"
    rules = {"mapping": {"rules": [{"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "U"}]}]}}
    for method, path, body in (
        ("PUT", "/OS-FEDERATION/mappings/oracle-m", rules), ("PUT", "/OS-FEDERATION/identity_providers/oracle-p", {"identity_provider": {}}),
        ("PUT", f"{protocols}/saml2", {"protocol": {"mapping_id": "oracle-m"}}), ("PUT", f"{protocols}/saml2", {"protocol": {"mapping_id": "oracle-m"}}),
        ("PUT", f"{protocols}/x", {"protocol": {"mapping_id": "none"}}), ("PUT", f"{protocols}/x", {"protocol": {}}), ("PUT", f"{protocols}/x", {"protocol": {"mapping_id": "oracle-m", "odd": 1}}),
        ("GET", protocols, None), ("GET", f"{protocols}/saml2", None), ("GET", f"{protocols}/none", None), ("PATCH", f"{protocols}/saml2", {"protocol": {"mapping_id": "oracle-m"}}),
        ("PATCH", f"{protocols}/saml2", {"protocol": {"mapping_id": "none"}}), ("DELETE", f"{protocols}/saml2", None), ("DELETE", f"{protocols}/saml2", None),
        ("GET", "/OS-FEDERATION/identity_providers/none/protocols", None), ("DELETE", "/OS-FEDERATION/identity_providers/oracle-p", None),
        ("DELETE", "/OS-FEDERATION/mappings/oracle-m", None), ("GET", "/OS-FEDERATION/projects", None), ("GET", "/OS-FEDERATION/domains", None),
        ("GET", "/OS-REVOKE/events", None), ("GET", "/OS-REVOKE/events?since=soon", None), ("HEAD", "/OS-REVOKE/events", None),
    ):  # fmt: skip
        yield Step(method, path, body)
    for path in ("/none", "/users/", "", "/", "/projects/<fixed_project>?parents_as_list", "/projects/<fixed_project>?subtree_as_ids",
                 "/projects/<fixed_project>?parents_as_ids&parents_as_list", "/projects/<fixed_project>?parents_as_ids"):  # fmt: skip
        for caller in (ADMIN, NOBODY):
            yield Step("GET", path, token=caller)
    yield Step("GET", "", headers={"Accept": "application/json-home"})
    for method in ("POST", "DELETE", "PUT", "OPTIONS"):
        yield Step(method, "/auth/projects")
