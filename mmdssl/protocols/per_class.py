"""mmseg's and mmdet's metrics, with what they find of every class kept for the record."""
from __future__ import annotations

import math

from mmengine.evaluator import BaseMetric

from mmdssl.registry import METRICS

OF_A_CATEGORY = '_precision'  # how mmdet's names of them end


class PerClassIoU:
    """After an evaluation ``details`` has ``per_class``, the IoU of each class in percent; None for one neither there nor predicted."""

    def compute_metrics(self, results: list) -> dict[str, float]:
        metrics = super().compute_metrics(results)
        if not self.format_only:
            intersections, unions = (sum(areas).tolist() for areas in list(zip(*results))[:2])
            self.details = dict(per_class={name: 100 * both / either if either else None
                                           for name, both, either in zip(self.dataset_meta['classes'], intersections, unions)})
        return metrics


class PerCategoryAP:
    """After an evaluation ``details`` has ``per_category``, the box and mask AP of each category in percent, as exact as mmdet gives
    them; None for one without objects. mmdet prints them too."""

    def compute_metrics(self, results: list) -> dict[str, float]:
        if self.format_only:
            return super().compute_metrics(results)
        for annotation in self._coco_api.anns.values() if self._coco_api else ():
            annotation.setdefault('iscrowd', 0)  # which many files leave out, and pycocotools asks for
        wanted, self.classwise = self.metrics, True
        metrics, per_category = {}, {}
        for kind in wanted:  # one at a time, because mmdet calls the box and the mask AP of a category the same
            self.metrics = [kind]
            found = super().compute_metrics(results)
            categories = {name: found.pop(name + OF_A_CATEGORY) for name in self.dataset_meta['classes'] if name + OF_A_CATEGORY in found}
            metrics.update(found)
            per_category[dict(bbox='box_AP', segm='mask_AP').get(kind, kind)] = {
                name: None if math.isnan(value) else round(100 * float(value), 1) for name, value in categories.items()}
        self.metrics = wanted
        self.details = dict(per_category={kind: values for kind, values in per_category.items() if values})
        return metrics


@METRICS.register_module()
def IoUMetric(**kwargs) -> BaseMetric:
    """mmseg's, with :class:`PerClassIoU`. mmseg is imported when it is built."""
    from mmseg.evaluation import IoUMetric
    return type('IoUMetric', (PerClassIoU, IoUMetric), {})(**kwargs)


@METRICS.register_module()
def CocoMetric(**kwargs) -> BaseMetric:
    """mmdet's, with :class:`PerCategoryAP`. mmdet is imported when it is built."""
    from mmdet.evaluation import CocoMetric
    return type('CocoMetric', (PerCategoryAP, CocoMetric), {})(**kwargs)
