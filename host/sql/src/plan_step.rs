//! Code shared by the plan steps of this crate.

/// Displays a step by the name of its type in DataFusion's plans.
macro_rules! shown_by_name {
    ($step:ident) => {
        impl datafusion::physical_plan::DisplayAs for $step {
            fn fmt_as(
                &self,
                _kind: datafusion::physical_plan::DisplayFormatType,
                f: &mut std::fmt::Formatter<'_>,
            ) -> std::fmt::Result {
                f.write_str(stringify!($step))
            }
        }
    };
}

/// The methods of an `ExecutionPlan` that are the same for all steps: its name, its field `properties`, and the replacement of its children.
macro_rules! common_methods {
    ($step:ident) => {
        fn name(&self) -> &str {
            stringify!($step)
        }

        fn properties(&self) -> &Arc<PlanProperties> {
            &self.properties
        }

        fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
            self.replace_children(
                children,
                ReplaceChildrenOptions::new(datafusion::physical_plan::execution_plan::ChildrenPropertiesMode::Keep),
            )
        }
    };
}

/// The methods of a step without expressions.
macro_rules! without_expressions {
    () => {
        fn apply_expressions(
            &self,
            _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
        ) -> Result<TreeNodeRecursion> {
            Ok(TreeNodeRecursion::Continue)
        }
    };
}

pub(super) use {common_methods, shown_by_name, without_expressions};
