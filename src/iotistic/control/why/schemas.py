"""Shapes of /why."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel

from iotistic.control.why.model import Answer, Finding, Record
from iotistic.control.why.port import About


class FindingRow(BaseModel):
    """A reason, in words, with the fix."""

    about: About
    code: str
    sentence: str
    fix: str
    evidence: dict[str, Any]

    @classmethod
    def of(cls, finding: Finding) -> "FindingRow":
        """Show a finding."""
        return cls(
            about=finding.about,
            code=finding.code,
            sentence=finding.sentence,
            fix=finding.fix,
            evidence=dict(finding.evidence),
        )


class RecordRow(BaseModel):
    """A decision that was written down."""

    id: int
    at: datetime
    about: About
    code: str
    source: str
    facts: dict[str, Any]
    cause_id: int | None

    @classmethod
    def of(cls, record: Record) -> "RecordRow":
        """Show a record."""
        return cls(
            id=record.id,
            at=record.at,
            about=record.about,
            code=record.code,
            source=record.source,
            facts=dict(record.facts),
            cause_id=record.cause_id,
        )


class WhyAnswer(BaseModel):
    """Why: `cause` is the nearest reason, `root` the last of `chain`, which goes from one to the other."""

    device: str
    about: About
    asked_at: datetime
    is_normal: bool
    cause: FindingRow
    root: FindingRow
    chain: list[FindingRow]
    also: list[FindingRow]
    records: list[RecordRow]

    @classmethod
    def of(cls, answer: Answer) -> "WhyAnswer":
        """Show an answer."""
        chain = [FindingRow.of(finding) for finding in answer.chain]
        return cls(
            device=answer.device,
            about=answer.about,
            asked_at=answer.asked_at,
            is_normal=answer.chain[0].is_normal,
            cause=chain[0],
            root=chain[-1],
            chain=chain,
            also=[FindingRow.of(finding) for finding in answer.also],
            records=[RecordRow.of(record) for record in answer.records],
        )
