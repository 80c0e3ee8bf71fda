"""The template of a script: ours, or a site's, which may extend ours."""

from __future__ import annotations

import os
from typing import Any

from cropfit.engines.schedulers.formats import FILTERS
from cropfit.errors import DesignError, NotFoundError

SITE = "CROPFIT_TEMPLATE"  # variable that names a site's template


class Template:
    """Text with gaps.

    Parameters
    ----------
    name : str
        Which of ours, such as ``slurm.sh.j2``.
    site : path, optional
        The file to take instead; by default the one that ``$CROPFIT_TEMPLATE`` names, if any.

    Raises
    ------
    NotFoundError
        The site's file is not there.
    DesignError
        It cannot be read as a template.
    """

    def __init__(self, name: str, site: str | os.PathLike[str] | None = None) -> None:
        import jinja2

        given = os.fspath(site or os.environ.get(SITE) or "")
        folders = [os.path.join(os.path.dirname(__file__), "templates")]
        if given:
            if not os.path.isfile(given):
                raise NotFoundError(f"There is no template {given} (template= or ${SITE}).")
            folders.append(os.path.dirname(os.path.abspath(given)))
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(folders),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            autoescape=False,
        )
        environment.filters.update(FILTERS)
        self._path = given or name
        try:
            if given:
                with open(given, encoding="utf-8") as file:
                    self._template = environment.from_string(file.read())
            else:
                self._template = environment.get_template(name)
        except jinja2.TemplateError as error:
            raise self._wrong(error) from None

    def fill(self, **told: Any) -> str:
        """The text with its gaps filled.

        Raises
        ------
        DesignError
            It asks for what is not told, or extends what is not there.
        """
        from jinja2 import TemplateError

        try:
            return self._template.render(**told)
        except TemplateError as error:
            raise self._wrong(error) from None

    def _wrong(self, error: Exception) -> DesignError:
        line = getattr(error, "lineno", None)
        where = f"{self._path}, line {line}" if line else self._path
        return DesignError(f"The template {where} cannot be used: {error}.")
