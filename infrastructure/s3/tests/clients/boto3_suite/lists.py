"""Lists of objects."""

from support import refused, keys, prefixes, fill


def test_lists_are_grouped_and_paged(s3, bucket):
    names = ["a", "b/1", "b/2", "b/c/3", "d", "d/4", "e"]
    fill(s3, bucket, names)
    all_of = s3.list_objects_v2(Bucket=bucket, Delimiter="/")
    assert (keys(all_of), prefixes(all_of)) == (["a", "d", "e"], ["b/", "d/"])
    assert all_of["KeyCount"] == 5
    inner = s3.list_objects_v2(Bucket=bucket, Delimiter="/", Prefix="b/")
    assert (keys(inner), prefixes(inner)) == (["b/1", "b/2"], ["b/c/"])
    for size in [1, 2, 3, 5]:
        pages = s3.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": size}
        )
        pages = list(pages)
        assert sum((keys(page) for page in pages), []) == ["a", "d", "e"], size
        assert sum((prefixes(page) for page in pages), []) == ["b/", "d/"], size
        assert all(page["KeyCount"] <= size for page in pages)
        pages = list(
            s3.get_paginator("list_objects").paginate(Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": size})
        )
        assert sum((keys(page) for page in pages), []) == ["a", "d", "e"], size
        assert sum((prefixes(page) for page in pages), []) == ["b/", "d/"], size
    assert keys(s3.list_objects_v2(Bucket=bucket, StartAfter="b/2")) == ["b/c/3", "d", "d/4", "e"]
    assert keys(s3.list_objects(Bucket=bucket, Marker="b/2", MaxKeys=2)) == ["b/c/3", "d"]
    empty = s3.list_objects_v2(Bucket=bucket, MaxKeys=0)
    assert keys(empty) == [] and not empty["IsTruncated"]
    assert keys(s3.list_objects(Bucket=bucket, Prefix="x")) == []
    owned = s3.list_objects_v2(Bucket=bucket, FetchOwner=True)["Contents"][0]
    assert owned["Owner"]["DisplayName"] == "lab" and owned["StorageClass"] == "STANDARD"
    assert "Owner" not in s3.list_objects_v2(Bucket=bucket)["Contents"][0]
    refused("InvalidArgument", 400, s3.list_objects_v2, Bucket=bucket, ContinuationToken="?")
    refused("InvalidArgument", 400, s3.list_objects_v2, Bucket=bucket, MaxKeys=-1)
    refused("InvalidArgument", 400, s3.list_objects, Bucket=bucket, EncodingType="x")
