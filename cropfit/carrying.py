"""What can be done with a crop where no disk is shared: pack batches, and unpack what was grown."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cropfit.tending import Batches, Tended
from cropfit.wording import number_of

if TYPE_CHECKING:
    from cropfit.work.report import GrowReport


class Carried(Tended):
    """One crop, of which parts may be carried to other machines and back."""

    def pack(
        self,
        batches: Batches = None,
        path: str | os.PathLike[str] | None = None,
        *,
        hold: bool = False,
    ) -> str:
        """Write batches with all that growing them takes into one tar file.

        Grow it on any other machine with ``cropfit grow FILE.tar``, carry it back and
        `unpack` it. What is grown here meanwhile is not lost by that, only done twice.

        Parameters
        ----------
        batches : int or list of int, optional
            Which, failed ones included; by default what is left.
        path : path, optional
            The file; by default ``<name>.tar`` in the current folder.
        hold : bool
            Set the batches aside here until the tar is unpacked; `ignore` with
            ``undo=True`` takes them back.

        Returns
        -------
        str
            The file's path.

        Raises
        ------
        NotFoundError
            There is nothing to pack, or one of those named is neither sown nor failed.
        ExistsError
            The file exists.
        """
        from cropfit.work.pack import pack

        file = os.path.abspath(path or f"{self.name}.tar")
        packed = pack(*self._open(), batches, file, hold=hold)
        self.say(f"Packed {number_of(len(packed), 'batch')}: {file}")
        return file

    def unpack(self, path: str | os.PathLike[str]) -> GrowReport:
        """Merge what was grown in a tar that was packed from this crop.

        Doing so twice is harmless: what is here already is left as it is.

        Returns
        -------
        GrowReport
            Batches that are grown or failed now by what came home.

        Raises
        ------
        DamagedError
            It is torn, or of another crop or design. Nothing was written.
        ForeignFileError
            It belongs to somebody else.
        """
        from cropfit.work.unpack import unpack

        report = unpack(*self._open(), os.path.abspath(path))
        for note in report.notes:
            self.say(note)
        self.say(f"Unpacked {len(report.grown)} grown and {len(report.failed)} failed batches.")
        return report
