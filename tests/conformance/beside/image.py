"""Asks a real Glance and ours the same, and says where they differ: status, headers, shapes of bodies.

`python tests/conformance/beside/image.py OURS THEIRS`, each `IDENTITY_URL,IMAGE_URL,USER,PASSWORD`. What is made is
deleted again. `bench/peers` starts the real one.
"""

import sys

from sides import Side, Step, compare, sign_in

PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
OLD_PATCH = {"Content-Type": "application/openstack-images-v2.0-json-patch"}
DATA = {"Content-Type": "application/octet-stream"}
BARE = {"disk_format": "raw", "container_format": "bare"}
KNOWN = {
    r"theirs 500$": "a fault of theirs; ours says what is wrong with the request",
    r"openstack-image-import-methods": "ours offers glance-download unless the operator leaves it out",
    r"header content-range: ours 'bytes \*/": "RFC 9110 section 15.5.17: a 416 says how long the data is",
    r"/members: status: ours 400, theirs 200$": "a number is no project's id",
    r"stores(/detail)?: body.stores\[\]": "a store's description is only shown where the operator gave one",
}
NOBODY = "00000000-0000-4000-8000-000000000000"
SPACE = "Beside::One"
NS = f"/v2/metadefs/namespaces/{SPACE}"
NAMESPACE = {
    "namespace": SPACE,
    "display_name": "n",
    "visibility": "public",
    "resource_type_associations": [{"name": "OS::Nova::Server", "prefix": "x_"}],
    "properties": {"p": {"title": "P", "type": "integer", "minimum": 1, "enum": ["1"]}},
    "objects": [{"name": "o", "properties": {"q": {"title": "Q", "type": "string"}}, "required": ["q"]}],
    "tags": [{"name": "t"}],
}


def images() -> list[Step]:
    one = "/v2/images/{one}"
    return [
        Step("GET", "/versions"),
        Step("GET", "/"),
        Step("GET", "/v2/images", who="nobody"),
        Step("GET", "/v2/nothing"),
        Step("DELETE", "/v2/images"),
        Step("POST", "/v2/images", {**BARE, "name": "beside", "colour": "red", "tags": ["a"]}, keep={"one": "id"}),
        *(
            Step("POST", "/v2/images", body)
            for body in (
                [],
                {"name": 5},
                {"name": "x" * 256},
                {"id": "no"},
                {"id": "{one}"},
                {"self": "x"},
                {"status": "active"},
                {"disk_format": "zip"},
                {"container_format": "zip"},
                {"visibility": "all"},
                {"min_disk": -1},
                {"min_ram": "1"},
                {"protected": "yes"},
                {"tags": "a"},
                {"tags": ["x" * 256]},
                {"colour": 5},
                {"os_glance_x": "1"},
                {"deleted": "x"},
                {"locations": []},
                {"owner": 5},
                {"x" * 256: "y"},
            )
        ),
        Step("GET", one),
        Step("GET", f"/v2/images/{NOBODY}"),
        Step("GET", f"{one}/file"),
        Step("GET", f"{one}/locations"),
        Step("GET", "/v2/images?name=beside"),
        *(
            Step("GET", f"/v2/images?{query}")
            for query in (
                "limit=0",
                "limit=-1",
                "limit=x",
                "marker=none",
                "sort_key=colour",
                "sort_dir=up",
                "sort=name:asc",
                "sort=name:up",
                "sort_key=name&sort=name:asc",
                "status=in:queued,active",
                "status=like:queued",
                "visibility=none",
                "member_status=none",
                "size_min=x",
                "size_max=10",
                "created_at=gt:2000-01-01T00:00:00Z",
                "created_at=now",
                "protected=yes",
                "os_hidden=true",
                "os_hidden=maybe",
                "tag=a",
                "tag=a&tag=b",
                "name=in:%22beside,b%22",
                "name=in:%22beside",
                "colour=red",
                "changes-since=1",
                "owner=none",
                "id=in:{one}",
            )
        ),
        Step("PATCH", one, [{"op": "replace", "path": "/name", "value": "new"}], PATCH),
        Step("PATCH", one, [{"add": "/size_of", "value": "9"}], OLD_PATCH),
        *(
            Step("PATCH", one, body, PATCH)
            for body in (
                {},
                [5],
                [{"op": "fly", "path": "/name"}],
                [{"path": "/name"}],
                [{"op": "add"}],
                [{"op": "add", "path": "/x"}],
                [{"op": "add", "path": "name", "value": "x"}],
                [{"op": "add", "path": "/a/b", "value": "x"}],
                [{"op": "add", "path": "//a", "value": "x"}],
                [{"op": "remove", "path": "/name"}],
                [{"op": "remove", "path": "/none"}],
                [{"op": "replace", "path": "/none", "value": "x"}],
                [{"op": "replace", "path": "/id", "value": "x"}],
                [{"op": "replace", "path": "/status", "value": "active"}],
                [{"op": "add", "path": "/deleted", "value": "x"}],
                [{"op": "add", "path": "/os_glance_x", "value": "x"}],
                [{"op": "add", "path": "/x", "value": 5}],
                [{"op": "replace", "path": "/min_ram", "value": -1}],
                [{"op": "replace", "path": "/tags", "value": ["b"]}],
                [{"op": "replace", "path": "/visibility", "value": "nope"}],
                [{"op": "add", "path": "/locations/-", "value": {"url": "http://x/", "metadata": {}}}],
                [{"op": "remove", "path": "/locations/0"}],
                [{"op": "replace", "path": "/locations", "value": []}],
            )
        ),
        Step("PATCH", one, [], {"Content-Type": "application/json"}),
        Step("PUT", f"{one}/tags/new"),
        Step("PUT", f"{one}/tags/{'x' * 256}"),
        Step("DELETE", f"{one}/tags/new"),
        Step("DELETE", f"{one}/tags/none"),
        Step("PUT", f"{one}/file", b"data", {"Content-Type": "text/plain"}),
        Step("POST", f"{one}/actions/deactivate", who="nobody"),
        Step("POST", f"{one}/actions/deactivate", b""),
        Step("PUT", f"{one}/file", b"0123456789", DATA),
        Step("PUT", f"{one}/file", b"data", DATA),
        Step("PUT", f"{one}/stage", b"data", DATA),
        Step("GET", one),
        Step("GET", f"{one}/file"),
        Step("GET", f"{one}/file", headers={"Range": "bytes=2-4"}),
        Step("GET", f"{one}/file", headers={"Range": "bytes=99-"}),
        Step("GET", f"{one}/file", headers={"Range": "words=1-"}),
        Step("PATCH", one, [{"op": "replace", "path": "/disk_format", "value": "iso"}], PATCH),
        Step("POST", f"{one}/actions/deactivate", b""),
        Step("POST", f"{one}/actions/deactivate", b""),
        Step("POST", f"{one}/actions/reactivate", b""),
        Step("GET", f"{one}/tasks"),
        Step("GET", f"{one}/members"),
        Step("POST", f"{one}/members", {"member": "p"}),
        Step("POST", f"{one}/members", {"member": "p"}),
        *(
            Step("POST", f"{one}/members", body)
            for body in ([], {}, {"member": ""}, {"member": 5}, {"member": "x" * 256})
        ),
        Step("GET", f"{one}/members"),
        Step("GET", f"{one}/members/p"),
        Step("GET", f"{one}/members/q"),
        *(Step("PUT", f"{one}/members/p", body) for body in ([], {}, {"status": "maybe"}, {"status": "accepted"})),
        Step("DELETE", f"{one}/members/p"),
        Step("DELETE", f"{one}/members/p"),
        Step("PATCH", one, [{"op": "replace", "path": "/protected", "value": True}], PATCH),
        Step("DELETE", one),
        Step("PATCH", one, [{"op": "replace", "path": "/protected", "value": False}], PATCH),
        Step("DELETE", "/v2/stores/none/{one}"),
        Step("DELETE", f"/v2/stores/none/{NOBODY}"),
    ]


def imports() -> list[Step]:
    two = "/v2/images/{two}"
    return [
        Step("POST", "/v2/images", BARE, keep={"two": "id"}),
        *(
            Step("POST", f"{two}/import", body)
            for body in (
                [],
                {},
                {"method": {}},
                {"method": {"name": "fly"}},
                {"method": {"name": "glance-direct"}},
                {"method": {"name": "copy-image"}},
                {"method": {"name": "web-download"}},
                {"method": {"name": "web-download", "uri": "file:///etc/passwd"}},
                {"method": {"name": "web-download", "uri": "http://127.0.0.1/"}},
                {"method": {"name": "web-download", "uri": "http://169.254.169.254:80/"}},
                {"method": {"name": "glance-direct"}, "all_stores": "yes"},
                {"method": {"name": "glance-direct"}, "all_stores_must_succeed": 1},
            )
        ),
        Step("PUT", f"{two}/stage", b"staged", DATA),
        Step("GET", two),
        Step("POST", f"{two}/import", {"method": {"name": "glance-direct"}, "stores": ["none"]}),
        Step("POST", f"{two}/import", {"method": {"name": "web-download", "uri": "http://example.com/"}}),
        *(
            Step("POST", f"{two}/locations", body)
            for body in ([], {}, {"url": 5}, {"url": "http://127.0.0.1/"}, {"url": "http://x/", "validation_data": {}})
        ),
        Step("DELETE", two),
        Step("GET", "/v2/info/import"),
        Step("GET", "/v2/info/stores"),
        Step("GET", "/v2/info/stores/detail"),
        Step("GET", "/v2/tasks"),
        Step("GET", f"/v2/tasks/{NOBODY}"),
        *(
            Step("POST", "/v2/tasks", body)
            for body in ([], {}, {"type": "fly", "input": {}}, {"type": "import", "input": {}}, {"type": "import"})
        ),
        *(Step("GET", f"/v2/schemas/{n}") for n in ("image", "images", "member", "members", "task", "tasks")),
    ]


def metadefs() -> list[Step]:
    return [
        Step("POST", "/v2/metadefs/namespaces", NAMESPACE),
        Step("POST", "/v2/metadefs/namespaces", NAMESPACE),
        *(
            Step("POST", "/v2/metadefs/namespaces", body)
            for body in (
                [],
                {},
                {"namespace": 5},
                {"namespace": "n" * 81},
                {"namespace": "n", "visibility": "x"},
                {"namespace": "n", "extra": 1},
                {"namespace": "n", "self": "x"},
                {"namespace": "n", "properties": {"p": {"title": "P"}}},
            )
        ),
        Step("GET", "/v2/metadefs/namespaces?limit=1"),
        *(
            Step("GET", f"/v2/metadefs/namespaces?{q}")
            for q in (
                "limit=x",
                "limit=-1",
                "sort_dir=up",
                "marker=none",
                "visibility=x",
                "resource_types=OS::Nova::Server",
            )
        ),
        Step("GET", NS),
        Step("GET", f"{NS}?resource_type=OS::Nova::Server"),
        Step("GET", "/v2/metadefs/namespaces/None"),
        Step("PUT", NS, {"namespace": SPACE, "description": "d", "visibility": "public"}),
        Step("PUT", NS, {"description": "d"}),
        Step("GET", f"{NS}/objects"),
        Step("POST", f"{NS}/objects", {"name": "new", "description": "d"}),
        Step("POST", f"{NS}/objects", {"name": "new"}),
        Step("POST", f"{NS}/objects", {}),
        Step("GET", f"{NS}/objects/new"),
        Step("PUT", f"{NS}/objects/new", {"name": "newer"}),
        Step("DELETE", f"{NS}/objects/newer"),
        Step("DELETE", f"{NS}/objects/newer"),
        Step("GET", f"{NS}/properties"),
        Step("POST", f"{NS}/properties", {"name": "new", "title": "N", "type": "string", "default": "x"}),
        Step("POST", f"{NS}/properties", {"name": "new", "title": "N", "type": "string"}),
        Step("POST", f"{NS}/properties", {"name": "bad", "type": "string"}),
        Step("GET", f"{NS}/properties/new"),
        Step("GET", f"{NS}/properties/x_p?resource_type=OS::Nova::Server"),
        Step("PUT", f"{NS}/properties/new", {"name": "newer", "title": "N", "type": "integer", "maximum": 5}),
        Step("DELETE", f"{NS}/properties/newer"),
        Step("DELETE", f"{NS}/properties/newer"),
        Step("GET", f"{NS}/tags"),
        Step("POST", f"{NS}/tags/new", b""),
        Step("POST", f"{NS}/tags/new", b""),
        Step("GET", f"{NS}/tags/new"),
        Step("PUT", f"{NS}/tags/new", {"name": "newer"}),
        Step("POST", f"{NS}/tags", {"tags": [{"name": "a"}, {"name": "b"}]}),
        Step("POST", f"{NS}/tags", {"tags": [{"name": "c"}, {"name": "c"}]}),
        Step("POST", f"{NS}/tags", {"tags": [{}]}),
        Step("DELETE", f"{NS}/tags/a"),
        Step("DELETE", f"{NS}/tags/a"),
        Step("DELETE", f"{NS}/tags"),
        Step("GET", "/v2/metadefs/resource_types"),
        Step("GET", f"{NS}/resource_types"),
        Step("POST", f"{NS}/resource_types", {"name": "OS::Cinder::Volume", "prefix": "y"}),
        Step("POST", f"{NS}/resource_types", {"name": "OS::Cinder::Volume"}),
        Step("POST", f"{NS}/resource_types", {}),
        Step("DELETE", f"{NS}/resource_types/OS::Cinder::Volume"),
        Step("DELETE", f"{NS}/resource_types/OS::Cinder::Volume"),
        Step("PUT", NS, {"namespace": SPACE, "protected": True}),
        Step("DELETE", f"{NS}/objects/o"),
        Step("DELETE", NS),
        Step("PUT", NS, {"namespace": SPACE, "protected": False}),
        Step("DELETE", f"{NS}/objects"),
        Step("DELETE", f"{NS}/properties"),
        *(
            Step("GET", f"/v2/schemas/metadefs/{n}")
            for n in (
                "namespace",
                "namespaces",
                "object",
                "objects",
                "property",
                "properties",
                "tag",
                "tags",
                "resource_type",
                "resource_types",
            )
        ),
    ]


ENDS = [Step("DELETE", "/v2/images/{one}"), Step("DELETE", "/v2/images/{one}"), Step("DELETE", NS), Step("GET", NS)]


def main() -> int:
    sides = []
    for name, text in zip(("ours", "theirs"), sys.argv[1:3], strict=True):
        identity, address, user, password = text.split(",")
        sides.append(Side(name, address, sign_in(identity, user, password)))
    equal, explained, differ = compare([*images(), *imports(), *metadefs(), *ENDS], *sides, KNOWN)
    print(f"{equal + explained + differ} requests: {equal} equal, {explained} explained, {differ} differ")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
