"""From facts to the chain of causes. Pure.

The first cause of the list that holds is the answer. Then the chain goes on: by the records that its own record
follows from, and by the question that it leads to (not updated, because offline, because its certificate expired).
"""

from iotistic.control.why.catalogue import Catalogue
from iotistic.control.why.facts import Facts
from iotistic.control.why.finding import told
from iotistic.control.why.model import Answer, Cause, Finding, Record
from iotistic.control.why.port import About

_MOST_ALSO = 3
_LONGEST_CHAIN = 10
_SHOWN_RECORDS = 20


def explain(facts: Facts, about: About, catalogue: Catalogue) -> Answer:
    """Say why."""
    held = [
        (cause, Finding.of(cause, evidence))
        for cause in catalogue.about(about)
        if (evidence := cause.finds(facts)) is not None
    ]
    cause, first = held[0]
    chain = _chain(facts, cause, first, catalogue, {about})
    named = {one.code for one in chain}
    # The end of each list holds always; it is no further reason.
    also = [one for _, one in held[1:-1] if not one.is_normal and one.code not in named]
    return Answer(
        device=facts.uuid,
        about=about,
        asked_at=facts.now,
        chain=chain,
        also=[] if first.is_normal else also[:_MOST_ALSO],
        records=list(facts.records[:_SHOWN_RECORDS]),
    )


def _chain(
    facts: Facts, cause: Cause, first: Finding, catalogue: Catalogue, asked: set[About]
) -> list[Finding]:
    chain = [first, *_followed(facts, first, catalogue)]
    further = cause.leads_to
    if further is None or further in asked:
        return chain
    for other in catalogue.about(further):
        evidence = other.finds(facts)
        if evidence is not None:
            found = Finding.of(other, evidence)
            if not found.is_normal:
                chain += _chain(facts, other, found, catalogue, asked | {further})
            break
    return chain[:_LONGEST_CHAIN]


def _followed(facts: Facts, first: Finding, catalogue: Catalogue) -> list[Finding]:
    """Return what the record of a finding follows from, step by step."""
    known = {record.id: record for record in facts.records} | dict(facts.chained)
    record = known.get(first.record_id) if first.record_id else None
    seen: set[int] = set()
    found: list[Finding] = []
    while record is not None and record.cause_id is not None and record.cause_id not in seen:
        seen.add(record.cause_id)
        record = known.get(record.cause_id)
        if record is not None and len(found) < _LONGEST_CHAIN:
            found.append(finding_of(record, catalogue))
    return found


def finding_of(record: Record, catalogue: Catalogue) -> Finding:
    """Say a record in words; one with a code that no cause has is told by its facts."""
    cause = catalogue.by_code(record.code, record.about)
    if cause is not None:
        return Finding.of(cause, told(record))
    listed = ", ".join(f"{name} {value}" for name, value in record.facts.items())
    plain = Cause(
        code=record.code,
        about=record.about,
        sentence="On {at}: {what}" + (" ({listed})." if listed else "."),
        fix="Look at what decided it: {source}.",
        finds=lambda _facts: None,
    )
    what = record.code.replace(".", ": ").replace("_", " ")
    return Finding.of(
        plain, {**told(record), "what": what, "listed": listed, "source": record.source or "the log"}
    )
