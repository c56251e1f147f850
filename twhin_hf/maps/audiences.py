"""Who engaged with posts, and where these people stand in the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_array

from twhin_hf.errors import InputError
from twhin_hf.network.folder import Network
from twhin_hf.network.log import read_log
from twhin_hf.network.neighbours import unit_vectors
from twhin_hf.table_format import TableFormat
from twhin_hf.tables import TableSource


@dataclass(frozen=True)
class Audiences:
    """Who engaged with the posts of the map.

    Args:
        engaged: `[posts, users]`.
        places: Mean of the network vectors of each post's users, zeros where none is known;
            `[posts, dimension]`, None without a network.
    """

    engaged: csr_array
    places: np.ndarray | None = None


def audiences_of(
    post_ids: pa.Array,
    network: Network | None,
    engagements: TableSource | None,
    *,
    columns: Mapping[str, str] | None = None,
    table_format: TableFormat | None = None,
    memory_limit: str = "1GB",
) -> Audiences | None:
    """Who engaged with posts: by the log where there is one, else by the network's engagements.

    Args:
        post_ids: Ids of the posts.
        network: Its users' vectors place the audiences.
        engagements: Engagement log.
        columns: What the log calls a column.
        table_format: How text tables are written.
        memory_limit: Most memory of the reader.

    Returns:
        None where there is neither a network nor a log.

    Raises:
        InputError: A log that cannot be read, or a network folder without engagements.
    """
    if engagements is not None:
        return _of_log(engagements, post_ids, network, columns, table_format, memory_limit)
    return None if network is None else _of_network(network, post_ids)


def _of_log(
    engagements: TableSource,
    post_ids: pa.Array,
    network: Network | None,
    columns: Mapping[str, str] | None,
    table_format: TableFormat | None,
    memory_limit: str,
) -> Audiences:
    graph = read_log(
        engagements,
        post_ids.to_pylist(),
        table_format=table_format,
        max_unknown_posts=1.0,  # the map is of a sample
        columns=columns,
        memory_limit=memory_limit,
    )
    rows = pc.index_in(graph.post_ids, value_set=post_ids).to_numpy()
    shape = (len(post_ids), graph.num_users)
    engaged = csr_array((np.ones(graph.num_edges), (rows[graph.rhs], graph.lhs)), shape=shape)
    if network is None:
        return Audiences(engaged)
    users = pc.index_in(graph.user_ids, value_set=network.user_ids)
    known = users.is_valid().to_numpy(zero_copy_only=False)
    own = users.drop_null().to_numpy()
    return Audiences(engaged, engaged[:, known] @ unit_vectors(network.user_vectors[own]))


def _of_network(network: Network, post_ids: pa.Array) -> Audiences:
    if network.engagements is None:
        raise InputError(
            "The network folder, of an earlier version, holds no engagements: embed the network "
            "again, or give the log (engagements).",
            faq="old-network",
        )
    found = pc.index_in(post_ids, value_set=network.post_ids)
    own = np.flatnonzero(found.is_valid().to_numpy(zero_copy_only=False))
    users, counts = network.engagements.users_of_posts.of(found.drop_null().to_numpy())
    distinct, columns = np.unique(users, return_inverse=True)
    engaged = csr_array(
        (np.ones(len(users)), (np.repeat(own, counts), columns)),
        shape=(len(post_ids), len(distinct)),
    )
    return Audiences(engaged, engaged @ unit_vectors(network.user_vectors[distinct]))
