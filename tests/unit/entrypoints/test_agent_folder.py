"""The agent's folder."""

import pytest

from iotistic.entrypoints.agent.assembly import AgentSettings, FolderUnusable, open_agent


async def test_a_folder_that_cannot_be_made_is_told_with_the_reason_and_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(FolderUnusable) as refused:
        async with open_agent(AgentSettings(), tmp_path / "file" / "agent"):
            pass

    assert "not a directory" in refused.value.message
    assert "--data" in refused.value.hint
