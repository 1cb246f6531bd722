"""What others revoke gets into the list, once for each change, and puts off whom it has to."""

from datetime import UTC, datetime, timedelta

import pytest

from iotistic.kernel.errors import Unavailable
from iotistic.pki.elsewhere import ElsewhereWatch, Refused, certificates_of
from iotistic.pki.model import Certificate, CertificateKind

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def refused(serial, *, client="one", is_replaced=False):
    certificate = Certificate(
        serial=serial,
        kind=CertificateKind.DEVICE,
        mac=None,
        pem="",
        not_before=NOW,
        not_after=NOW + timedelta(days=1),
        issued_at=NOW,
        issued_by="test",
    )
    return Refused(certificate, client, is_replaced)


class Source:
    def __init__(self, *present):
        self.present = list(present)

    async def serials(self, now):
        return frozenset(one.certificate.serial for one in self.present)

    async def refused(self, now):
        return self.present


class List:
    def __init__(self):
        self.put_off, self.is_broken = [], False

    async def publish(self, put_off=()):
        if self.is_broken:
            raise Unavailable("no database")
        self.put_off.append(list(put_off))
        return True


def watch(source, made):
    return ElsewhereWatch(source, made, lambda: NOW)


async def test_a_change_is_published_once():
    source, made = Source(), List()
    watching = watch(source, made)
    await watching.look()
    source.present = [refused("a")]

    assert [await watching.look(), await watching.look()] == [True, False]
    assert made.put_off == [[], ["one"]]


async def test_whoever_is_let_in_again_is_put_off_no_more():
    source, made = Source(refused("a")), List()
    watching = watch(source, made)
    await watching.look()
    source.present = []

    assert await watching.look()
    assert made.put_off[-1] == []


async def test_the_first_look_leaves_those_alone_who_have_a_good_certificate():
    made = List()
    await watch(Source(refused("a", is_replaced=True), refused("b", client="two")), made).look()

    assert made.put_off == [["two"]]


async def test_a_later_look_puts_off_who_may_still_use_the_old_certificate():
    source, made = Source(), List()
    watching = watch(source, made)
    await watching.look()
    source.present = [refused("a", is_replaced=True)]
    await watching.look()

    assert made.put_off[-1] == ["one"]


async def test_what_could_not_be_published_is_published_at_the_next_look():
    source, made = Source(refused("a")), List()
    watching = watch(source, made)
    made.is_broken = True
    with pytest.raises(Unavailable):
        await watching.look()
    made.is_broken = False

    assert await watching.look()
    assert made.put_off == [["one"]]


async def test_without_others_the_list_is_our_own():
    assert await certificates_of(None, NOW) == []
