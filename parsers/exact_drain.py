"""Exact mode's Drain: messages given to the real one in their order, where it has not answered before."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import numpy as np

if TYPE_CHECKING:
    from drain3.drain import Drain, DrainBase, LogCluster

# A leaf of Drain's tree with fewer clusters than this is quicker gone through one by one.
_MANY = 32
# Where more than this part of so many lines had to be given to Drain, looking for an answer first does not pay. Then
# lines are given to it as they come, each time twice as many, before this is tried again.
_WINDOW = 512
_TOO_MANY = 0.35
_LONGEST_REST = 64 * _WINDOW


class _Leaf:
    """The templates under one leaf of Drain's tree: a row of numbers for each place in them, where 0 is the wildcard."""

    def __init__(self, width: int) -> None:
        self.ids: list[int] = []
        self.words = np.zeros((width, 64), np.int32)
        self.wildcards = np.zeros(64, np.int64)

    def put(self, column: int, words: list[int] | None) -> None:
        """A template; or, with none, one that is never the best."""
        if column >= len(self.wildcards):
            self.words = np.concatenate([self.words, np.zeros_like(self.words)], axis=1)
            self.wildcards = np.concatenate([self.wildcards, np.zeros_like(self.wildcards)])
        self.words[:, column] = words or 0
        self.wildcards[column] = words.count(0) if words else -1


class _Leaves:
    """`Drain.fast_match` with the candidates compared all at once.

    A cluster stays under its leaf. The list of a leaf grows at its end only, so it is in order of ids; with max_clusters
    those that are gone fall out of it at some time.
    """

    def __init__(self, drain: Drain) -> None:
        self.live: Mapping[int, LogCluster] = cast("dict[int, LogCluster]", drain.id_to_cluster)
        self.one_by_one = drain.fast_match
        self.numbers = {drain.param_str: 0}
        self.places: dict[int, tuple[_Leaf, int]] = {}
        drain.fast_match = self.fast_match  # type: ignore[method-assign, assignment]
        if drain.max_clusters is not None:
            forget = drain.id_to_cluster.popitem

            def popitem() -> tuple[int, LogCluster | None]:
                gone = forget()
                if gone[0] in self.places:
                    leaf, column = self.places.pop(gone[0])
                    leaf.put(column, None)
                return gone

            drain.id_to_cluster.popitem = popitem  # type: ignore[method-assign]

    def changed(self, cluster: LogCluster) -> None:
        """The template of `cluster` is another now."""
        if cluster.cluster_id in self.places:
            leaf, column = self.places[cluster.cluster_id]
            leaf.put(column, self._numbers(cluster))

    def fast_match(
        self, cluster_ids: Sequence[int], tokens: Sequence[str], sim_th: float, include_params: bool
    ) -> LogCluster | None:
        """The first of the clusters with most equal words, and of those with most wildcards, if it is similar enough."""
        if len(cluster_ids) < _MANY or include_params:
            return self.one_by_one(cluster_ids, tokens, sim_th, include_params)
        leaf = self._leaf(cluster_ids, len(tokens))
        count = len(leaf.ids)
        if not count:
            return None
        equal = np.zeros(count, np.int64)
        for place, token in enumerate(tokens):
            # No word of a message equals a wildcard, not even the wildcard itself.
            if number := self.numbers.get(token, 0):
                equal += leaf.words[place, :count] == number
        best = int(np.argmax(equal * (len(tokens) + 1) + leaf.wildcards[:count]))
        if leaf.wildcards[best] >= 0 and float(equal[best]) / len(tokens) >= sim_th:
            return self.live[leaf.ids[best]]
        return None

    def _leaf(self, cluster_ids: Sequence[int], width: int) -> _Leaf:
        """The leaf with this list, up to date."""
        leaf = next((self.places[number][0] for number in cluster_ids if number in self.places), None)
        if leaf and len(leaf.ids) > 2 * len(cluster_ids) + 64:
            # Most of them are gone.
            for number in leaf.ids:
                self.places.pop(number, None)
            leaf = None
        if leaf is None:
            leaf = _Leaf(width)
        for number in cluster_ids[bisect.bisect_right(cluster_ids, leaf.ids[-1]) if leaf.ids else 0 :]:
            if cluster := self.live.get(number):
                self.places[number] = leaf, len(leaf.ids)
                leaf.put(len(leaf.ids), self._numbers(cluster))
                leaf.ids.append(number)
        return leaf

    def _numbers(self, cluster: LogCluster) -> list[int]:
        return [self.numbers.setdefault(word, len(self.numbers)) for word in cluster.log_template_tokens]


@dataclass
class _Group:
    """The messages of one number of words.

    `known`: every word that is or was in a template of theirs or in this part of Drain's tree, each under itself.
    `answers`: by the known words of a message, with None for each other one, the cluster that it got and did not change.
    `asked`: the messages whose answer is at hand without looking at their words.
    """

    known: dict[str, str]
    answers: dict[tuple[str | None, ...], int] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)


class Feed:
    """Messages given to Drain one after the other, where it has not answered before.

    Drain looks for a message's cluster among those with as many words. On the way it only asks which words equal one in
    its tree or in a template; what else they are it never sees. So messages with the same known words at the same places,
    and unknown ones at the others, get the same answer. One that changes nothing (but a size and, with max_clusters, which
    cluster was used last) holds until a cluster of as many words is made or changed. With max_clusters a cluster can also
    go: those that were better than it stay better, so only the answers that name it end.
    """

    def __init__(self, drain: DrainBase, messages: list[str]) -> None:
        from drain3.drain import Drain

        self.drain = drain
        self.messages = messages
        # By the number of a message; 0 where there is none.
        self.answers = [0] * len(messages)
        self.groups: dict[int, _Group] = {}
        self.added = 0
        self.changed = False
        self.live = drain.id_to_cluster
        self.bounded = drain.max_clusters is not None
        # Of another engine only this is said: the same message gets the same answer until any cluster is made or changed.
        self.by_words = type(drain) is Drain
        self.leaves = _Leaves(drain) if type(drain) is Drain else None

    def ids(self, codes: list[int]) -> list[int]:
        """The id of the cluster that Drain gives to `messages[code]`, for each code."""
        answers, live, bounded = self.answers, self.live, self.bounded
        ids: list[int] = []
        at, rest = 0, _WINDOW
        while at < len(codes):
            self.added = 0
            for code in codes[at : at + _WINDOW]:
                answer = answers[code]
                if answer and (not bounded or answer in live):
                    if bounded:
                        # As Drain does: the cluster is the one used last.
                        live[answer]
                else:
                    answer = self._ask(code)
                ids.append(answer)
            at += _WINDOW
            if self.added > _WINDOW * _TOO_MANY:
                rest = min(2 * rest, _LONGEST_REST)
                ids += self._all_added(codes[at : at + rest])
                at += rest
            else:
                rest = _WINDOW
        return ids

    def _all_added(self, codes: list[int]) -> list[int]:
        """Drain's own answers; no earlier one holds after them."""
        ids = []
        for code in codes:
            cluster, change = self.drain.add_log_message(self.messages[code])
            if self.leaves and change != "none":
                self.leaves.changed(cluster)
            ids.append(cluster.cluster_id)
        for group in self.groups.values():
            self._end(group)
        self.groups.clear()
        return ids

    def _ask(self, code: int) -> int:
        """The answer to a message with the same known words, or Drain's, which is kept."""
        tokens = self.drain.get_content_as_tokens(self.messages[code])
        group = self._group(tokens)
        key = tuple(map(group.known.get, tokens)) if self.by_words else (self.messages[code],)
        answer = group.answers.get(key, 0)
        if answer and (not self.bounded or answer in self.live):
            if self.bounded:
                self.live[answer]
        else:
            answer = self._add(code)
            if self.changed:
                return answer
            group.answers[key] = answer
        self.answers[code] = answer
        group.asked.append(code)
        return answer

    def _add(self, code: int) -> int:
        """Drain's own answer; `changed` says whether it made or changed a cluster."""
        cluster, change = self.drain.add_log_message(self.messages[code])
        self.added += 1
        self.changed = change != "none"
        if self.changed:
            words = cluster.log_template_tokens
            group = self._group(words)
            self._end(group)
            if change == "cluster_created":
                group.known.update(zip(words, words, strict=True))
            elif self.leaves:
                self.leaves.changed(cluster)
        return cluster.cluster_id

    def _end(self, group: _Group) -> None:
        """Answers no longer hold."""
        for code in group.asked:
            self.answers[code] = 0
        group.asked.clear()
        group.answers.clear()

    def _group(self, words: Sequence[str]) -> _Group:
        number = len(words) if self.by_words else 0
        group = self.groups.get(number)
        if group is None:
            group = self.groups[number] = _Group(self._known(number) if self.by_words else {})
        return group

    def _known(self, number: int) -> dict[str, str]:
        """`_Group.known`, read from Drain's tree as it is."""
        known = {self.drain.param_str: self.drain.param_str}
        top = self.drain.root_node.key_to_child_node.get(str(number))
        nodes = [top] if top else []
        while nodes:
            node = nodes.pop()
            known.update(zip(node.key_to_child_node, node.key_to_child_node, strict=True))
            nodes += node.key_to_child_node.values()
            for cluster in map(self.live.get, node.cluster_ids):
                if cluster:
                    known.update(zip(cluster.log_template_tokens, cluster.log_template_tokens, strict=True))
        return known
