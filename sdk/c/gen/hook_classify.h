// Made by sdk/c/generate from what wit-bindgen wrote. Do not edit.
extern uint8_t RET_AREA[];

__attribute__((__weak__, __export_name__("cabi_post_tidegate:policy/classify@0.1.0#classify")))
void __wasm_export_exports_tidegate_policy_classify_classify_post_return(uint8_t * arg0) {
  switch ((int32_t) (int32_t) *((uint8_t*) (arg0 + 0))) {
    case 0: {
      if ((*((size_t*) (arg0 + (2*sizeof(void*))))) > 0) {
        free(*((uint8_t **) (arg0 + sizeof(void*))));
      }
      switch ((int32_t) (int32_t) *((uint8_t*) (arg0 + (3*sizeof(void*))))) {
        case 0: {
          break;
        }
        case 1: {
          if ((*((size_t*) (arg0 + (5*sizeof(void*))))) > 0) {
            free(*((uint8_t **) (arg0 + (4*sizeof(void*)))));
          }
          break;
        }
      }
      break;
    }
    case 1: {
      if ((*((size_t*) (arg0 + (3*sizeof(void*))))) > 0) {
        free(*((uint8_t **) (arg0 + (2*sizeof(void*)))));
      }
      break;
    }
  }
}

__attribute__((__export_name__("tidegate:policy/classify@0.1.0#classify")))
uint8_t * __wasm_export_exports_tidegate_policy_classify_classify(int32_t arg, int32_t arg0, int32_t arg1, int32_t arg2, uint8_t * arg3, size_t arg4) {
  exports_tidegate_policy_classify_request_t arg5 = (tidegate_policy_types_request_t) {
    (tidegate_policy_types_tenant_id_t) (uint32_t) (arg),
    (tidegate_policy_types_class_id_t) (uint32_t) (arg0),
    (tidegate_policy_types_op_t) arg1,
    (tidegate_policy_types_collection_id_t) (uint32_t) (arg2),
    (policy_list_option_string_t) (policy_list_option_string_t) { (policy_option_string_t*)(arg3), (arg4) },
  };
  exports_tidegate_policy_classify_result_classification_policy_error_t ret;
  exports_tidegate_policy_classify_classification_t ok;
  exports_tidegate_policy_classify_policy_error_t err;
  ret.is_err = !exports_tidegate_policy_classify_classify(&arg5, &ok, &err);
  if (ret.is_err) {
    ret.val.err = err;
  }
  if (!ret.is_err) {
    ret.val.ok = ok;
  }
  uint8_t *ptr = (uint8_t *) &RET_AREA;
  if ((ret).is_err) {
    const exports_tidegate_policy_classify_policy_error_t *payload8 = &(ret).val.err;*((int8_t*)(ptr + 0)) = 1;
    *((int8_t*)(ptr + sizeof(void*))) = (int32_t) (*payload8).code;
    *((size_t*)(ptr + (3*sizeof(void*)))) = ((*payload8).detail).len;
    *((uint8_t **)(ptr + (2*sizeof(void*)))) = (uint8_t *) ((*payload8).detail).ptr;
  } else {
    const exports_tidegate_policy_classify_classification_t *payload = &(ret).val.ok;*((int8_t*)(ptr + 0)) = 0;
    *((size_t*)(ptr + (2*sizeof(void*)))) = ((*payload).tenant).len;
    *((uint8_t **)(ptr + sizeof(void*))) = (uint8_t *) ((*payload).tenant).ptr;
    if (((*payload).class_).is_some) {
      const policy_string_t *payload7 = &((*payload).class_).val;
      *((int8_t*)(ptr + (3*sizeof(void*)))) = 1;
      *((size_t*)(ptr + (5*sizeof(void*)))) = (*payload7).len;
      *((uint8_t **)(ptr + (4*sizeof(void*)))) = (uint8_t *) (*payload7).ptr;
    } else {
      *((int8_t*)(ptr + (3*sizeof(void*)))) = 0;
    }
  }
  return ptr;
}

__asm__(".section \".custom_section.component-type:tidegate-classify\",\"\",@\n"
        ".ascii \"\\000\\141\\163\\155\\015\\000\\001\\000\\000\\031\\026\\167\\151\\164\\055\\143\\157\\155\\160\\157\\156\\145\\156\\164\"\n"
        ".ascii \"\\055\\145\\156\\143\\157\\144\\151\\156\\147\\004\\000\\007\\362\\003\\001\\101\\002\\001\\101\\006\\001\\102\\022\\001\"\n"
        ".ascii \"\\171\\004\\000\\011\\164\\145\\156\\141\\156\\164\\055\\151\\144\\003\\000\\000\\001\\171\\004\\000\\010\\143\\154\\141\"\n"
        ".ascii \"\\163\\163\\055\\151\\144\\003\\000\\002\\001\\171\\004\\000\\015\\143\\157\\154\\154\\145\\143\\164\\151\\157\\156\\055\"\n"
        ".ascii \"\\151\\144\\003\\000\\004\\001\\171\\004\\000\\010\\163\\150\\141\\162\\144\\055\\151\\144\\003\\000\\006\\001\\155\\002\"\n"
        ".ascii \"\\004\\162\\145\\141\\144\\005\\167\\162\\151\\164\\145\\004\\000\\002\\157\\160\\003\\000\\010\\001\\153\\163\\001\\160\"\n"
        ".ascii \"\\012\\001\\162\\005\\006\\164\\145\\156\\141\\156\\164\\001\\005\\143\\154\\141\\163\\163\\003\\002\\157\\160\\011\\012\"\n"
        ".ascii \"\\143\\157\\154\\154\\145\\143\\164\\151\\157\\156\\005\\006\\151\\156\\160\\165\\164\\163\\013\\004\\000\\007\\162\\145\"\n"
        ".ascii \"\\161\\165\\145\\163\\164\\003\\000\\014\\001\\155\\004\\010\\156\\157\\055\\155\\141\\164\\143\\150\\011\\142\\141\\144\"\n"
        ".ascii \"\\055\\151\\156\\160\\165\\164\\011\\156\\157\\164\\055\\162\\145\\141\\144\\171\\005\\157\\164\\150\\145\\162\\004\\000\"\n"
        ".ascii \"\\012\\145\\162\\162\\157\\162\\055\\143\\157\\144\\145\\003\\000\\016\\001\\162\\002\\004\\143\\157\\144\\145\\017\\006\"\n"
        ".ascii \"\\144\\145\\164\\141\\151\\154\\163\\004\\000\\014\\160\\157\\154\\151\\143\\171\\055\\145\\162\\162\\157\\162\\003\\000\"\n"
        ".ascii \"\\020\\003\\000\\033\\164\\151\\144\\145\\147\\141\\164\\145\\072\\160\\157\\154\\151\\143\\171\\057\\164\\171\\160\\145\"\n"
        ".ascii \"\\163\\100\\060\\056\\061\\056\\060\\005\\000\\002\\003\\000\\000\\007\\162\\145\\161\\165\\145\\163\\164\\002\\003\\000\"\n"
        ".ascii \"\\000\\014\\160\\157\\154\\151\\143\\171\\055\\145\\162\\162\\157\\162\\001\\102\\012\\002\\003\\002\\001\\001\\004\\000\"\n"
        ".ascii \"\\007\\162\\145\\161\\165\\145\\163\\164\\003\\000\\000\\002\\003\\002\\001\\002\\004\\000\\014\\160\\157\\154\\151\\143\"\n"
        ".ascii \"\\171\\055\\145\\162\\162\\157\\162\\003\\000\\002\\001\\153\\163\\001\\162\\002\\006\\164\\145\\156\\141\\156\\164\\163\"\n"
        ".ascii \"\\005\\143\\154\\141\\163\\163\\004\\004\\000\\016\\143\\154\\141\\163\\163\\151\\146\\151\\143\\141\\164\\151\\157\\156\"\n"
        ".ascii \"\\003\\000\\005\\001\\152\\001\\006\\001\\003\\001\\100\\001\\001\\162\\001\\000\\007\\004\\000\\010\\143\\154\\141\\163\"\n"
        ".ascii \"\\163\\151\\146\\171\\001\\010\\004\\000\\036\\164\\151\\144\\145\\147\\141\\164\\145\\072\\160\\157\\154\\151\\143\\171\"\n"
        ".ascii \"\\057\\143\\154\\141\\163\\163\\151\\146\\171\\100\\060\\056\\061\\056\\060\\005\\003\\004\\000\\042\\164\\151\\144\\145\"\n"
        ".ascii \"\\147\\141\\164\\145\\072\\160\\157\\154\\151\\143\\171\\057\\163\\144\\153\\055\\143\\154\\141\\163\\163\\151\\146\\171\"\n"
        ".ascii \"\\100\\060\\056\\061\\056\\060\\004\\000\\013\\022\\001\\000\\014\\163\\144\\153\\055\\143\\154\\141\\163\\163\\151\\146\"\n"
        ".ascii \"\\171\\003\\000\\000\\000\\104\\011\\160\\162\\157\\144\\165\\143\\145\\162\\163\\001\\014\\160\\162\\157\\143\\145\\163\"\n"
        ".ascii \"\\163\\145\\144\\055\\142\\171\\002\\015\\167\\151\\164\\055\\143\\157\\155\\160\\157\\156\\145\\156\\164\\007\\060\\056\"\n"
        ".ascii \"\\062\\065\\070\\056\\063\\015\\167\\151\\164\\055\\142\\151\\156\\144\\147\\145\\156\\055\\143\\006\\060\\056\\066\\061\"\n"
        ".ascii \"\\056\\061\"\n");
