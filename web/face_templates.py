"""A person's face template at rest: the record's opaque key and the sealed file go together."""

from __future__ import annotations

from classroom import forget_template, template_of
from proctor.templates import TemplateBox
from web.parts import Parts


def template_box(parts: Parts) -> TemplateBox:
    return TemplateBox(parts.settings.templates_dir, parts.settings.keys.templates)


async def delete_template(parts: Parts, person_id: str) -> bool:
    """Removes the record's key first: a file without a key is unreadable waste, a key without a file a broken check."""
    template_key = await template_of(parts.record, person_id)
    if template_key is None:
        return False
    await forget_template(parts.record, person_id)
    template_box(parts).delete(template_key)
    return True
